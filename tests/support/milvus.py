"""A real Milvus, the small one of milvus-lite, as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundswell.retrieval.engine import MilvusAddress
from tests.support.processes import free_port
from tests.support.waiting import eventually


class Milvus:
    """A server that can be killed and started again with its data."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.address = MilvusAddress(f"http://127.0.0.1:{self._port}")
        self.start()

    def start(self) -> None:
        binary = Path(sys.executable).with_name("milvus-lite")
        command = [str(binary), "server", "--data-dir", str(self._folder), "--host", "127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._is_open, timeout_s=60.0)

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    @contextmanager
    def hung(self) -> Iterator[None]:
        """While this lasts, connections stay, and nothing is answered."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def milvus(folder: Path) -> Iterator[Milvus]:
    server = Milvus(folder)
    try:
        yield server
    finally:
        server.kill()
