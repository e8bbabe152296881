"""The revisions of the tables, and the function that brings a database to the newest one.

During an update the release before still runs on the new tables. So a revision only expands: it
adds tables and indexes, and columns that are nullable or have a default. What the release before
writes or reads is dropped or made stricter by a later release, when no process of that release
runs any more. `test_store_migrations` runs the statements of earlier releases on the new tables.

SQLite changes a table by copying it, so foreign keys are off while revisions run there, and are
checked after them.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

_ADVISORY_LOCK = 7_305_401
"""Replicas that start together migrate one after the other."""


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the revisions that the database lacks up to one, in the caller's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
    config = Config()
    # The option is read as a pattern in which % stands for something.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    before = _revision(connection)
    command.upgrade(config, revision)
    if connection.dialect.name == "sqlite" and _revision(connection) != before:
        broken = connection.execute(text("PRAGMA foreign_key_check")).first()
        if broken is not None:
            raise RuntimeError(f"a revision broke a foreign key of the table {broken[0]}")


def is_new(connection: Connection) -> bool:
    """Whether no revision was ever run on the database."""
    return _revision(connection) is None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
