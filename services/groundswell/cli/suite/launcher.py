"""Starts services as processes of their own, watches them, and ends all of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Self

from groundswell.cli.failures import CommandError
from groundswell.client.secured import Tls
from groundswell.serving.health_probe import SERVING, health

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0

_POLL_S = 0.1
_PROBE_TIMEOUT_S = 1.0
_NUM_LAST_LINES = 4
_ERROR = "[error"
"""As a line of the console's log format says that it is one."""
# With more threads each, processes that share few cores spend their time waiting for each other.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Service:
    """One process to run: `python -m MODULE` with the variables, listening on loopback."""

    name: str
    module: str
    port: int
    variables: Mapping[str, str]

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"


class _Child:
    """A running service, and the last lines that it wrote."""

    def __init__(self, service: Service, on_line: Callable[[str, str], None]) -> None:
        self.service = service
        self._on_line = on_line
        self._last = deque[str](maxlen=_NUM_LAST_LINES)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "groundswell.cli.suite.child", service.module],
            env={**os.environ, **_ONE_THREAD, "PYTHONUNBUFFERED": "1", **service.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C is for the launcher, which then ends the services in order.
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self.process.stdout,), name=service.name, daemon=True
        )
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            text = line.rstrip()
            self._last.append(text)
            self._on_line(self.service.name, text)

    def why_ended(self) -> str:
        """How it ended, and the last lines that it wrote."""
        self._reader.join(timeout=1.0)
        status = self.process.returncode
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        errors = [line for line in self._last if _ERROR in line]
        said = " | ".join(errors or [line for line in self._last if line]) or "nothing"
        return f"the {self.service.name} service ended {how}; its last lines: {said}"

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        self._reader.join(timeout=1.0)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Suite:
    """Services that run while its context is open; `on_line(name, line)` gets their logs.

    A service comes after those that it calls. `tls` is what they are asked with whether they serve.
    """

    def __init__(
        self,
        services: Sequence[Service],
        on_line: Callable[[str, str], None],
        tls: Tls | None = None,
    ) -> None:
        self._services = services
        self._on_line = on_line
        self._tls = tls
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        try:
            for service in self._services:
                self._children.append(_Child(service, self._on_line))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service that has been started and not been stopped."""
        return {child.service.name: child.process.pid for child in self._children}

    def wait_serving(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until every service says SERVING. Raises CommandError when one ends or is late."""
        deadline = time.monotonic() + timeout_s
        waiting = list(self._services)
        while waiting:
            self.raise_if_ended()
            waiting = [one for one in waiting if not is_serving(one.address, self._tls)]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(service.name for service in waiting)
                raise CommandError(f"not SERVING after {timeout_s:.0f} s: {names}")
            time.sleep(_POLL_S if waiting else 0)

    def raise_if_ended(self) -> None:
        """Raise CommandError when a service has ended, saying which and why."""
        for child in self._children:
            if child.process.poll() is not None:
                raise CommandError(child.why_ended())

    def watch(self) -> None:
        """Wait until a service ends by itself, then raise CommandError."""
        while True:
            self.raise_if_ended()
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End every service, those that call the others first; kill what does not end in time.

        Interrupted, it kills them at once. Nothing of the suite runs afterwards.
        """
        children, self._children = self._children, []
        deadline = time.monotonic() + STOP_TIMEOUT_S
        try:
            for child in reversed(children):
                child.process.terminate()
                child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"not ended after {STOP_TIMEOUT_S:.0f} s, killed") from error
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
                child.close()


def is_serving(address: str, tls: Tls | None = None) -> bool:
    """Whether a server answers at the address and says SERVING."""
    return health(address, timeout_s=_PROBE_TIMEOUT_S, tls=tls) == SERVING
