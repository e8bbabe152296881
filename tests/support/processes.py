"""Starts the parts of the suite as processes of their own, and ends them for certain."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from groundswell.client import Tls
from groundswell.serving.health_probe import SERVING, health
from tests.support.forks import MODULES, Fork

ROOT = Path(__file__).parents[2]
STOP_TIMEOUT_S = 15.0
SECRET = "a secret for tests, nothing more"

# One thread per process: with several on two cores, each waits for the other.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """`python ARGUMENTS` with its output in a file; leaving the context ends it.

    The process gets this one's environment without any GROUNDSWELL_ variable, then `environment`,
    and runs in the root of the repository, by this interpreter unless `python` names another one.
    What it writes to stderr goes into the log too, unless `err` names another file.
    """

    end_signal = signal.SIGTERM
    stop_timeout_s = STOP_TIMEOUT_S

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        err: Path | None = None,
        python: str = sys.executable,
    ) -> None:
        self.log_path = log
        self._err_path = err or log
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GROUNDSWELL_")}
        self._environment = {**inherited, **_ONE_THREAD, **environment}
        self._arguments = [python, *arguments]
        self._popen: subprocess.Popen[bytes] | Fork | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it, or start it again after its end; the log goes on.

        `environment` changes variables for this run alone.
        """
        known = {**self._environment, **(environment or {})}
        # An interpreter of its own alone reads this variable.
        is_usual = known.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
        for path in (self.log_path, self._err_path):
            path.touch()  # a fork opens them only when it runs
        match self._arguments:
            case [sys.executable, "-m", module, *arguments] if module in MODULES and is_usual:
                outputs = (self.log_path, self._err_path)
                self._popen = Fork(module, arguments, known, ROOT, outputs)
                return
        with self.log_path.open("ab") as log, self._err_path.open("ab") as err:
            self._popen = subprocess.Popen(
                self._arguments,
                env=known,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=err,
            )

    @property
    def popen(self) -> "subprocess.Popen[bytes] | Fork":
        """The running process. Raises RuntimeError before it was started."""
        if self._popen is None:
            raise RuntimeError("the process was not started")
        return self._popen

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def stop(self) -> int:
        """End it in order, or with SIGKILL when that takes too long; returns the status."""
        if self.is_running:
            self.popen.send_signal(self.end_signal)
        try:
            return self.popen.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.popen.wait()

    def kill(self) -> None:
        """End it as a crash would: no chance to clean up."""
        if self.is_running:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(STOP_TIMEOUT_S)

    def wait(self, timeout: float = STOP_TIMEOUT_S) -> int:
        """Wait until it ends by itself; returns its status."""
        return self.popen.wait(timeout)

    def log(self) -> str:
        """Everything it has written so far."""
        return self.log_path.read_text(errors="replace")

    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err_path.read_text(errors="replace")

    def wait_serving(
        self, address: str, service: str = "", timeout: float = 30.0, tls: Tls | None = None
    ) -> None:
        """Wait until it says SERVING; raises AssertionError with its log when it ends before."""
        deadline = time.monotonic() + timeout
        while True:
            if not self.is_running:
                raise AssertionError(f"ended with {self.popen.returncode}:\n{self.log()}")
            try:
                wait_serving(address, service, timeout=min(1.0, timeout), tls=tls)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise AssertionError(f"not SERVING in {timeout} s:\n{self.log()}") from None
            else:
                return


def wait_serving(
    address: str, service: str = "", timeout: float = 30.0, tls: Tls | None = None
) -> None:
    """Wait until the server at `address` says SERVING. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    last = "no answer"
    # A channel of its own per try: a refused connection would make one channel wait longer.
    while time.monotonic() < deadline:
        last = health(address, service, timeout_s=1.0, tls=tls)
        if last == SERVING:
            return
        time.sleep(0.05)
    raise TimeoutError(f"{address} is not SERVING after {timeout} s: {last}")


def service_process(
    module: str,
    port: int,
    bundles: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Process:
    """A service of the suite on loopback, `python -m MODULE`, with the tests' secret."""
    settings = {
        "GROUNDSWELL_PORT": str(port),
        "GROUNDSWELL_SECRET": SECRET,
        "GROUNDSWELL_BUNDLES": str(bundles),
        "GROUNDSWELL_BUNDLE_POLL_S": "0.2",
        "GROUNDSWELL_DRAIN_WAIT_S": "0",
    }
    return Process(["-m", module, *arguments], {**settings, **(environment or {})}, log)


def cpu_s(process: int) -> float:
    """Return the processor time of a process until now."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(process: int | str = "self") -> int:
    """Return the memory that a process has now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
