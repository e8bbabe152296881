"""The tables' history, and what brings a database to its newest form."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

_ADVISORY_LOCK = 7_305_401
"""Replicas that start together migrate one after the other."""


def upgrade(connection: Connection) -> None:
    """Run every revision that the database lacks, in the caller's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
