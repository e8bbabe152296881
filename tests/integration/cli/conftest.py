"""The command line against the suite's own services, over a tiny bundle."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from groundswell.cli.deployment import Ports, free_ports
from tests.support.bundles import tiny_bundle

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
COMMAND = [sys.executable, "-c", "from groundswell.cli import main; main()"]


def groundswell(*arguments: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
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


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles with a tiny one."""
    root = tmp_path_factory.mktemp("bundles")
    tiny_bundle(root)
    return root


@pytest.fixture(scope="module")
def up(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Running services that the tests of a module share."""
    with Up(bundles, tmp_path_factory.mktemp("up"), free_ports()) as running:
        running.wait_serving()
        yield running
