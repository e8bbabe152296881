"""CSV and Parquet files, and folders of parts → one table with the line of each row."""

from pathlib import Path

import polars as pl

from groundswell.logs.csv_files import parse_separator, read_csv
from groundswell.logs.errors import DataError
from groundswell.logs.parquet_files import read_parquet
from groundswell.logs.raw_table import LINE, ROW, RawTable, check_columns
from groundswell.logs.source import SourceFile, parts


def read_table(path: Path, required: tuple[str, ...], *, separator: str | None = None) -> RawTable:
    """Read a CSV or Parquet file, recognised by its content, or a folder of such parts.

    Raises DataError naming the file, and the column where one of `required` is missing.
    """
    separator = parse_separator(separator)
    files = parts(path)
    tables = [_read_part(file, required, separator) for file in files]
    table = tables[0] if files == [path] else _joined(files, tables)
    if table.num_rows == 0:
        raise DataError(f"{path} has a header but no rows")
    return table


def _read_part(path: Path, required: tuple[str, ...], separator: str | None) -> RawTable:
    source = SourceFile(path)
    table = read_parquet(source) if source.is_parquet else read_csv(source, required, separator)
    check_columns(path, table.names, required)
    return table


def _joined(files: list[Path], tables: list[RawTable]) -> RawTable:
    """Join the parts of a folder; rows and lines are numbered from the first part to the last."""
    first = tables[0]
    frames, gone = [], []
    row = line = 0
    for file, table in zip(files, tables, strict=True):
        _check_alike(files[0], first, file, table)
        frames.append(
            table.frame.select(first.frame.columns).with_columns(
                pl.col(ROW) + row, pl.col(LINE) + line
            )
        )
        gone.append(table.left_out.with_columns(pl.col("line") + line))
        row += table.num_rows
        line += max([*table.frame[LINE].tail(1), *table.left_out["line"]], default=0)
    notes = (f"{len(files)} parts, whose lines are numbered from the first part to the last",)
    return RawTable(
        pl.concat(frames, how="vertical_relaxed"),
        pl.concat(gone),
        row,
        tuple(dict.fromkeys(notes + sum((table.notes for table in tables), ()))),
    )


def _check_alike(first_file: Path, first: RawTable, file: Path, table: RawTable) -> None:
    """Refuse parts whose columns differ: joining them would drop or change values."""
    if set(table.names) != set(first.names):
        differ = sorted(set(table.names) ^ set(first.names))[0]
        raise DataError(f"{first_file} and {file} do not both have the column {differ!r}")
    for name in first.names:
        types = (first.frame[name].dtype, table.frame[name].dtype)
        if types[0] != types[1] and not all(kind.is_integer() for kind in types):
            raise DataError(
                f"the column {name!r} holds {types[0]} in {first_file} and {types[1]} in {file}"
            )
