"""Parquet files → tables with columns of plain types: text, numbers, times and lists."""

from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.logs.errors import DataError
from groundswell.logs.raw_table import LINE, ROW, RawTable, nothing_left_out, stripped_names
from groundswell.logs.source import SourceFile


def read_parquet(source: SourceFile) -> RawTable:
    """Read a Parquet file. Raises DataError when it cannot be read, naming the column if one."""
    path = source.path
    try:
        with source.open() as file:
            opened = pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
            names = stripped_names(path, opened.schema_arrow.names)
            table = opened.read()
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    columns = [
        _plain(name, table.column(n), str(path)).rename(name) for n, name in enumerate(names)
    ]
    rows = pl.int_range(table.num_rows, dtype=pl.Int64, eager=True)
    frame = pl.DataFrame([rows.alias(ROW), (rows + 1).alias(LINE), *columns])
    return RawTable(frame, nothing_left_out(), table.num_rows, tuple(source.notes))


def _plain(name: str, column: pa.ChunkedArray, path: str) -> pl.Series:
    """Convert a column to a plain type; a missing text is empty, one that is not UTF-8 is null."""
    try:
        if isinstance(column.type, pa.UuidType) or pa.types.is_decimal256(column.type):
            series = pl.Series([_text(value) for value in column.to_pylist()], dtype=pl.String)
        else:
            series = pl.Series(values=column)
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"the column {name!r} of {path} cannot be read: it holds {column.type}"
        ) from error
    if series.dtype in (pl.Categorical, pl.Enum, pl.Null):
        series = series.cast(pl.String)
    if series.dtype == pl.Binary:
        series = pl.Series([_decoded(value or b"") for value in series], dtype=pl.String)
    elif series.dtype == pl.String:
        series = series.fill_null("")
    return series


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return "" if value is None else str(value)


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
