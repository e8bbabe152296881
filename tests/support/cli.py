"""Runs the `groundswell` command as a person does, `up` included."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from groundswell.cli.suite.deployment import Ports
from groundswell.client import Targets
from tests.support.in_process import run
from tests.support.processes import Process
from tests.support.suite import UPSTREAM_TIMEOUT_S
from tests.support.waiting import eventually

READY_TIMEOUT_S = 60.0
_SLOW_MACHINE = {"GROUNDSWELL_UPSTREAM_TIMEOUT_S": UPSTREAM_TIMEOUT_S}
COMMAND = [sys.executable, "-c", "from groundswell.cli import main; main()"]


def groundswell(
    *arguments: str,
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end in a folder, with some variables changed."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **(environment or {})},
        cwd=folder,
        check=False,
    )


def call(targets: Targets, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command against the one of these services that it is for, in this process."""
    of_ranker = ("recommend", "recommend-all", "similar", "explain")
    service = "ranker" if arguments[0] in of_ranker else "profile"
    if arguments[0] == "bench":
        of_all = [
            (f"--{name}", getattr(targets, name)) for name in ("ranker", "session", "profile")
        ]
        return run(*arguments, *itertools.chain.from_iterable(of_all))
    return run(*arguments, f"--{service}", getattr(targets, service))


class Up(Process):
    """`groundswell up` as a person runs it; leaving the context ends it as Ctrl-C does."""

    end_signal = signal.SIGINT
    stop_timeout_s = 30.0

    def __init__(
        self, bundles: Path, folder: Path, ports: Ports, state: Path | None = None
    ) -> None:
        self.ports = ports
        self.state = state or folder / "state"
        arguments = ["up", "--bundles", str(bundles), "--state", str(self.state)]
        for name, port in ports.by_name().items():
            arguments += [f"--{name}-port", str(port)]
        out, err = folder / "up.out", folder / "up.err"
        for earlier in (out, err):
            earlier.unlink(missing_ok=True)
        super().__init__([*COMMAND[1:], *arguments], _SLOW_MACHINE, out, err)

    def wait_ready(self) -> None:
        """Wait until it says that everything is SERVING."""

        def is_ready() -> bool:
            assert self.is_running, self.err()
            return "Everything is SERVING" in self.log()

        eventually(is_ready, READY_TIMEOUT_S, self.err)

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another command against these services, in this process."""
        return call(self.ports.targets, *arguments)
