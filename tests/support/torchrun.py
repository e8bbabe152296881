"""Runs a program in two processes, as `torchrun` starts them, on the loopback interface alone."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import ROOT

TIMEOUT_S = 300.0
_END_TIMEOUT_S = 60.0
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


class TwoProcesses:
    """`torchrun --nproc-per-node 2 ARGUMENTS`; leaving the context ends it and both processes."""

    def __init__(self, *arguments: str, folder: Path) -> None:
        self._out, self._err = folder / "torchrun.out", folder / "torchrun.err"
        launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")
        self._command = [sys.executable, "-m", *launcher, *arguments]

    def __enter__(self) -> Self:
        with self._out.open("w") as out, self._err.open("w") as err:
            self.popen = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**os.environ, **_ENVIRONMENT},
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            # It ends its processes first.
            self.popen.terminate()
            self.popen.wait(_END_TIMEOUT_S)

    def wait(self) -> int:
        """Wait for the end of both; the status."""
        return self.popen.wait(TIMEOUT_S)

    def out(self) -> str:
        """What both have written to stdout."""
        return self._out.read_text()

    def err(self) -> str:
        """What both, and torchrun, have written to stderr."""
        return self._err.read_text()

    def process_of(self, rank: int) -> int:
        """The id of one of the two processes."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        of_rank = f"\0RANK={rank}\0".encode()
        found = [
            int(child)
            for child in children.read_text().split()
            if of_rank in b"\0" + Path(f"/proc/{child}/environ").read_bytes()
        ]
        (process,) = found
        return process
