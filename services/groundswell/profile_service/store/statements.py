"""What the two databases spell differently, and SQLAlchemy therefore gives per dialect."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import ARRAY, CTE, ColumnElement, Table, column, func, literal, select, type_coerce
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine


def insert(connection: AsyncConnection, table: Table) -> postgresql.Insert:
    """An INSERT that knows ON CONFLICT."""
    if connection.dialect.name == "sqlite":
        # The two classes have the same methods, but no common type that says so.
        return sqlite.insert(table)  # type: ignore[return-value]
    return postgresql.insert(table)


def given_rows(
    connection: AsyncConnection,
    columns: dict[str, TypeEngine[Any]],
    rows: Collection[tuple[int | str, ...]],
) -> CTE:
    """A table of given rows, to join with.

    However many they are, they are one parameter per column or one in all: a statement of many
    parameters takes long to write, and SQLite reads a whole table for a list of pairs.
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
