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
    ScalarSelect,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    extract,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

_GIVEN = "given"


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


def insert_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Insert rows of some columns into a table of SQLite.

    SQLAlchemy takes longer to arrange parameters by name than SQLite to store the row.
    """
    connection.exec_driver_sql(_insert_sql(table, tuple(columns)), list(rows))


@cache
def _insert_sql(table: Table, columns: tuple[str, ...]) -> str:
    return str(table.insert().compile(dialect=sqlite.dialect(), column_keys=columns))


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


def given_table(dialect: str, columns: Mapping[str, TypeEngine[Any]], name: str = _GIVEN) -> CTE:
    """Return a table to join with, whose rows are the `given_parameters` of the execution.

    All rows are one parameter: a statement with many parameters takes long to build, the driver of
    PostgreSQL takes longer for arrays, and SQLite reads a whole table for a list of pairs. No
    column can have bytes. A statement may have several such tables, of different names.
    """
    given = bindparam(name, type_=Text)
    if dialect == "sqlite":
        each = func.json_each(given).table_valued("value").c.value
        picked: list[ColumnElement[Any]] = [
            type_coerce(func.json_extract(each, f"$[{place}]"), kind).label(column)
            for place, (column, kind) in enumerate(columns.items())
        ]
    else:
        rows = func.jsonb_array_elements(cast(given, postgresql.JSONB))
        each = rows.table_valued("value").c.value
        texts = [each.op("->>")(literal_column(str(place))) for place in range(len(columns))]
        picked = [
            (type_coerce if isinstance(kind, Text) else cast)(text, kind).label(column)
            for text, (column, kind) in zip(texts, columns.items(), strict=True)
        ]
    return select(*picked).cte(name)


def given_parameters(rows: Collection[tuple[Any, ...]], name: str = _GIVEN) -> dict[str, Any]:
    """Return the parameters of a statement with a `given_table` of this name."""
    return {name: json.dumps(list(rows))}


def as_json(dialect: str, *columns: ColumnElement[Any]) -> ScalarSelect[str]:
    """Select the rows of a subquery's columns as one text for `read_json`, in their order.

    Many values of one row take less time than many rows.
    """
    if dialect == "sqlite":
        array, rows = func.json_array, func.json_group_array
    else:
        array, rows = func.json_build_array, func.json_agg
    row = columns[0] if len(columns) == 1 else array(*columns)
    return select(cast(rows(row), Text)).scalar_subquery()


def read_json(rows: str | None) -> list[Any]:
    """Read what `as_json` selects: a value for each row of one column, a list for each of more."""
    read: list[Any] = json.loads(rows or "[]")
    return read


def one_of(dialect: str, column: ColumnElement[int], numbers: Collection[int]) -> Any:
    """Whether a column has one of any number of values: they are one parameter.

    The databases take 32,766 or 65,535 parameters at most.
    """
    if dialect == "sqlite":
        each = func.json_each(json.dumps(list(numbers))).table_valued("value").c.value
        return column.in_(select(each))
    return column == any_(literal(list(numbers), ARRAY(BigInteger)))


def among(dialect: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a column has one of the values of a parameter.

    PostgreSQL gets them as an array: the statement is the same for any number of them.
    """
    if dialect == "sqlite":
        return column.in_(bindparam(name, expanding=True))
    return column == any_(bindparam(name, type_=ARRAY(column.type)))
