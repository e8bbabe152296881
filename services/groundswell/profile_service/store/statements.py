"""SQL that differs between the two databases, and that SQLAlchemy does not unify."""

import json
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
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


def insert(connection: Connection, table: Table) -> postgresql.Insert:
    """Return an INSERT statement that can have ON CONFLICT."""
    if connection.dialect.name == "sqlite":
        # The two classes have the same methods, but no common type that says so.
        return sqlite.insert(table)  # type: ignore[return-value]
    return postgresql.insert(table)


def now(connection: Connection) -> ColumnElement[int]:
    """Microseconds since 1970 by the clock that all writers use.

    It is the database server's clock; for SQLite, that of the one process.
    """
    if connection.dialect.name == "sqlite":
        return literal(time.time_ns() // 1000, BigInteger)
    return cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)


def clock_us(connection: Connection) -> int:
    """Return the time of `now`."""
    return int((connection.execute(select(now(connection)))).scalar_one())


def given_rows(
    connection: Connection,
    columns: dict[str, TypeEngine[Any]],
    rows: Collection[tuple[int | str, ...]],
) -> CTE:
    """Return a table of the given rows, to join with.

    The rows are one parameter per column, or one in all: a statement with many parameters takes
    long to build, and SQLite reads a whole table for a list of pairs.
    """
    if connection.dialect.name == "sqlite":
        each = func.json_each(json.dumps(list(rows))).table_valued("value")
        picked: list[ColumnElement[Any]] = [
            type_coerce(func.json_extract(each.c.value, f"$[{place}]"), kind).label(name)
            for place, (name, kind) in enumerate(columns.items())
        ]
        return select(*picked).cte("given")
    lists = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [
        literal(list(values), ARRAY(kind))
        for values, kind in zip(lists, columns.values(), strict=True)
    ]
    given = func.unnest(*arrays).table_valued(*(column(n, k) for n, k in columns.items()))
    return select(given.render_derived()).cte("given")
