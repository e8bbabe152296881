"""Reads the ids in one column of a file, and says which rows have none."""

from pathlib import Path

import polars as pl
from rich.console import Console

from groundswell.cli.imports.file_report import say_how_read, say_left_out
from groundswell.contract.events import MAX_ID_BYTES
from groundswell.logs.raw_table import LINE
from groundswell.logs.tables import read_table
from groundswell.logs.texts import NOT_UTF8, as_ids


def ids_of_file(
    path: Path, console: Console, column: str, separator: str | None = None
) -> tuple[list[str], int]:
    """The ids of a file's column, and how many rows lack one, which are listed.

    Raises DataError.
    """
    table = read_table(path, (column,), separator=separator)
    ids = as_ids(table.frame[column])
    found = pl.DataFrame({"line": table.frame[LINE], "id": ids.text, "problem": ids.problem})
    found = found.with_columns(
        reason=pl.when(pl.col("id").is_null())
        .then(pl.lit(f"{column} is {NOT_UTF8}"))
        .when(pl.col("id") == "")
        .then(pl.lit(f"{column} is missing"))
        .when(pl.col("id").str.len_bytes() > MAX_ID_BYTES)
        .then(pl.lit(f"{column} is longer than {MAX_ID_BYTES} bytes"))
        .when(pl.col("id").str.contains("\0", literal=True))
        .then(pl.lit(f"{column} contains a NUL"))
        .when(pl.col("problem").is_not_null())
        .then(pl.format(f"{column} is {{}}", "problem"))
    )
    notes = [*table.notes, *ids.notes(column)]
    say_how_read(console, notes, [name for name in table.names if name != column])
    gone = found.drop_nulls("reason").select("line", "reason")
    left_out = pl.concat([table.left_out, gone])
    say_left_out(console, left_out)
    return found.filter(pl.col("reason").is_null())["id"].to_list(), left_out.height
