"""Statements that the two databases spell alike but SQLAlchemy gives per dialect."""

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert(connection: AsyncConnection, table: Table) -> postgresql.Insert:
    """An INSERT that knows ON CONFLICT."""
    if connection.dialect.name == "sqlite":
        # The two classes have the same methods, but no common type that says so.
        return sqlite.insert(table)  # type: ignore[return-value]
    return postgresql.insert(table)
