"""Runs the `groundswell` command as a person does, `up` included."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from groundswell.cli.suite.deployment import Ports

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
COMMAND = [sys.executable, "-c", "from groundswell.cli import main; main()"]


def groundswell(
    *arguments: str, timeout: float = 60.0, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end, with some variables changed."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **(environment or {})},
        check=False,
    )


class Up:
    """`groundswell up` as a person runs it; leaving the context ends it as Ctrl-C does."""

    def __init__(
        self, bundles: Path, folder: Path, ports: Ports, state: Path | None = None
    ) -> None:
        self.ports = ports
        self.state = state or folder / "state"
        self._out = folder / "up.out"
        self._err = folder / "up.err"
        self._arguments = ["up", "--bundles", str(bundles), "--state", str(self.state)]
        for name, port in ports.by_name().items():
            self._arguments += [f"--{name}-port", str(port)]

    def __enter__(self) -> Self:
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen([*COMMAND, *self._arguments], stdout=out, stderr=err)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGINT)

    def wait_serving(self) -> None:
        """Wait until it says that everything is SERVING."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while "Everything is SERVING" not in self.out():
            assert self.process.poll() is None, self.err()
            assert time.monotonic() < deadline, self.err()
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for its end; the status."""
        self.process.send_signal(number)
        return self.process.wait(END_TIMEOUT_S)

    def out(self) -> str:
        """What it has written to stdout."""
        return self._out.read_text()

    def err(self) -> str:
        """What it has written to stderr: the log."""
        return self._err.read_text()

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another command against these services."""
        service = "ranker" if arguments[0] in ("recommend", "similar") else "profile"
        return groundswell(*arguments, f"--{service}", getattr(self.ports.targets, service))
