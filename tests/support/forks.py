"""Runs a service as a fork of a process that has imported all of them, which saves seconds."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

_SERVICES = ("profile_service", "ranker_service", "session_service")
MODULES = (*(f"groundswell.{name}" for name in _SERVICES), "tests.support.probe_server")
"""What may be run so. Threads that a library starts when it is imported wait for work, so that they
hold no lock, and a fork does without them."""


class Fork:
    """`python -m MODULE ARGUMENTS` that runs, with those methods of Popen that the tests call."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        outputs: tuple[Path, Path],
    ) -> None:
        run = (module, arguments, environment, folder, outputs)
        self._process = _server().Process(target=_run, args=run, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Its status; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return its status; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its status. Raises TimeoutExpired."""
        self._process.join(timeout)
        status = self.returncode
        if status is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["__main__", *(f"groundswell.{name}.process" for name in _SERVICES)]
    )
    return context


def _run(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    outputs: tuple[Path, Path],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for path, stream in zip(outputs, (1, 2), strict=True):
        with path.open("ab") as file:
            os.dup2(file.fileno(), stream)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
