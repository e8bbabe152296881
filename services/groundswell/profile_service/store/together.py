"""Runs statements on the driver's own connection, without SQLAlchemy's work around each of them."""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import await_only


class BoundStatement(NamedTuple):
    """A statement with its parameters."""

    statement: ClauseElement
    parameters: Mapping[str, Any]


def run_together(
    connection: Connection, *queries: BoundStatement, commit: bool = False
) -> list[list[Any]]:
    """Run statements over PostgreSQL one after the other; return the rows of each, by name.

    SQLAlchemy waits for each statement, for the BEGIN before the first one and for COMMIT. Here
    they are sent at once, in the pipeline mode of the driver. With `commit` the transaction ends
    with them. Raises what SQLAlchemy raises.
    """
    driver: Any = connection.connection.driver_connection
    sent = [_text(query, connection.dialect) for query in queries]
    try:
        rows: list[list[Any]] = await_only(_run(driver, sent, commit=commit))
    except BaseException as error:  # noqa: BLE001 - it raises it again
        # As after a statement of its own: it wraps what the driver raises, and drops a connection
        # that broke or was interrupted.
        connection._handle_dbapi_exception(error, None, None, None, None)
    return rows


def read_rows(
    connection: Connection, statement: ClauseElement, parameters: Mapping[str, Any]
) -> list[Any]:
    """Run one statement that reads; return its rows, by name, with values as the driver has them.

    SQLAlchemy takes several times as long around such a statement as SQLite for it. Raises what
    SQLAlchemy raises.
    """
    driver: Any = connection.connection.driver_connection
    text, order, known = _compiled(statement, connection.dialect)
    given = {**known, **parameters}
    try:
        if order is None:
            rows: list[Any] = await_only(_read(driver, text, given))
            return rows
        cursor = driver.execute(text, [given[name] for name in order])
        make = _row_class(tuple([column[0] for column in cursor.description]))
        return [make(*row) for row in cursor]
    except BaseException as error:  # noqa: BLE001 - it raises it again
        connection._handle_dbapi_exception(error, None, None, None, None)


async def _read(
    driver: psycopg.AsyncConnection[Any], text: Any, parameters: dict[str, Any]
) -> list[Any]:
    cursor = driver.cursor(row_factory=namedtuple_row)
    return await (await cursor.execute(text, parameters)).fetchall()


@cache
def _row_class(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)


async def _run(
    driver: psycopg.AsyncConnection[Any], sent: list[tuple[Any, dict[str, Any]]], *, commit: bool
) -> list[list[Any]]:
    async with driver.pipeline():
        cursors = [
            await driver.cursor(row_factory=namedtuple_row).execute(text, parameters)
            for text, parameters in sent
        ]
        if commit:
            await driver.commit()
    return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _text(query: BoundStatement, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    text, _, known = _compiled(query.statement, dialect)
    return text, {**known, **query.parameters}


@cache
def _compiled(
    statement: ClauseElement, dialect: Dialect
) -> tuple[str, Sequence[str] | None, dict[str, Any]]:
    """Return the text of a statement, the order of its parameters where they go by place, and the
    parameters that it brings."""
    compiled = statement.compile(dialect=dialect)
    order = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
    return str(compiled), order, dict(compiled.params)
