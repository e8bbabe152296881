"""SQL that differs between the two databases, and that SQLAlchemy does not unify."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    extract,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

_GIVEN = "given_"


class Subjects(NamedTuple):
    """Some subjects of a table, to be read page by page; their numbers may have gaps."""

    number: ColumnElement[int]
    """The table's key."""
    statement: Select[int, int]
    """Selects (number, version) of these subjects."""

    def last_of_page(self, after: int, limit: int) -> Select[int | None]:
        """Select the last number of the page of `limit` rows of the table that follow a number."""
        page = select(self.number).where(self.number > after).order_by(self.number).limit(limit)
        return select(func.max(page.subquery().c[0]))

    def between(self, after: int, last: int) -> Select[int, int]:
        """Select these subjects after one number and up to another."""
        return self.statement.where(self.number > after, self.number <= last)


def insert(dialect: str, table: Table) -> postgresql.Insert:
    """Return an INSERT statement that can have ON CONFLICT."""
    if dialect == "sqlite":
        # The two classes have the same methods, but no common type that says so.
        return sqlite.insert(table)  # type: ignore[return-value]
    return postgresql.insert(table)


SERVER_NOW = cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
"""Microseconds since 1970 by the clock of the server of PostgreSQL."""


def now(connection: Connection) -> ColumnElement[int]:
    """Microseconds since 1970 by the clock that all writers use.

    It is the database server's clock; for SQLite, that of the one process.
    """
    if connection.dialect.name == "sqlite":
        return literal(clock_us(connection), BigInteger)
    return SERVER_NOW


def clock_us(connection: Connection) -> int:
    """Return the time of `now`."""
    if connection.dialect.name == "sqlite":
        return time.time_ns() // 1000
    return int((connection.execute(select(SERVER_NOW))).scalar_one())


def given_table(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> CTE:
    """Return a table to join with, whose rows are the `given_parameters` of the execution.

    The rows are one parameter per column, or one in all: a statement with many parameters takes
    long to build, and SQLite reads a whole table for a list of pairs.
    """
    if dialect == "sqlite":
        each = func.json_each(bindparam(_GIVEN, type_=Text)).table_valued("value")
        picked: list[ColumnElement[Any]] = [
            type_coerce(func.json_extract(each.c.value, f"$[{place}]"), kind).label(name)
            for place, (name, kind) in enumerate(columns.items())
        ]
        return select(*picked).cte("given")
    arrays = [bindparam(_GIVEN + name, type_=ARRAY(kind)) for name, kind in columns.items()]
    given = func.unnest(*arrays).table_valued(*(column(n, k) for n, k in columns.items()))
    return select(given.render_derived()).cte("given")


def given_parameters(
    connection: Connection, columns: Collection[str], rows: Collection[tuple[Any, ...]]
) -> dict[str, Any]:
    """Return the parameters of a statement with a `given_table` of these columns."""
    if connection.dialect.name == "sqlite":
        return {_GIVEN: json.dumps(list(rows))}
    lists = zip(*rows, strict=True) if rows else [()] * len(columns)
    return {_GIVEN + name: list(ones) for name, ones in zip(columns, lists, strict=True)}


def given_rows(
    connection: Connection,
    columns: Mapping[str, TypeEngine[Any]],
    rows: Collection[tuple[int | str, ...]],
) -> CTE:
    """Return a table of the given rows, to join with."""
    table = given_table(connection.dialect.name, columns)
    return table.params(given_parameters(connection, columns, rows))


def among(dialect: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a column has one of the values of a parameter.

    PostgreSQL gets them as an array: the statement is the same for any number of them.
    """
    if dialect == "sqlite":
        return column.in_(bindparam(name, expanding=True))
    return column == any_(bindparam(name, type_=ARRAY(column.type)))


def insert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    new_only: bool = False,
) -> None:
    """Insert rows of the same columns, one or more; with `new_only` without those that exist.

    PostgreSQL gets one array per column. SQLite gets the rows themselves: through JSON a number
    with a fraction would not come unchanged, and bytes not at all.
    """
    dialect, columns = connection.dialect.name, tuple(rows[0])
    statement = _insert_given(dialect, table, columns, new_only)
    if dialect == "sqlite":
        connection.execute(statement, rows)
    else:
        values = [tuple(row.values()) for row in rows]
        connection.execute(statement, given_parameters(connection, columns, values))


@cache
def _insert_given(
    dialect: str, table: Table, columns: tuple[str, ...], new_only: bool
) -> postgresql.Insert:
    statement = insert(dialect, table)
    if dialect != "sqlite":
        given = given_table(dialect, {name: table.c[name].type for name in columns})
        statement = statement.from_select(list(columns), select(given))
    return statement.on_conflict_do_nothing() if new_only else statement
