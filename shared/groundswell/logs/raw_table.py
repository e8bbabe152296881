"""A file as it was read: each row with its line, and the reason for what is not a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from groundswell.logs.errors import DataError

# No column of a file has these names: blanks at the ends of names are removed.
ROW, LINE = " row", " line"

WRONG_FIELDS = "another number of fields than the header has"
OPEN_QUOTE = f"{WRONG_FIELDS}, over several lines: is a quote never closed?"


class RawTable(NamedTuple):
    """A file as it was read."""

    frame: pl.DataFrame
    """The file's columns, with ROW (0-based among the data rows) and LINE (1-based) before them.
    From CSV every column is text. A missing text is empty, one that is not UTF-8 is null."""
    left_out: pl.DataFrame
    """line, reason of what could not be read as a row."""
    num_rows: int
    """Data rows in the file, those left out included; empty lines of a CSV file are none."""
    notes: tuple[str, ...]
    """How it was read, in sentences for the user."""

    @property
    def names(self) -> list[str]:
        """The file's columns."""
        return [name for name in self.frame.columns if name not in (ROW, LINE)]

    @property
    def how_read(self) -> str:
        """The notes in brackets, for the end of an error; empty without any."""
        return f" ({'; '.join(self.notes)})" if self.notes else ""


def left_out(lines: pl.Series, reason: str) -> pl.DataFrame:
    """A table of rows left out: their `lines` and one reason."""
    return pl.DataFrame({"line": lines.cast(pl.Int64)}).with_columns(reason=pl.lit(reason))


def nothing_left_out() -> pl.DataFrame:
    """An empty table of rows left out."""
    return left_out(pl.Series([], dtype=pl.Int64), WRONG_FIELDS)


def stripped_names(path: Path, names: Sequence[str]) -> list[str]:
    """Remove blanks around the names of columns; a column without a name gets its number.

    Raises DataError for a name that comes twice.
    """
    stripped = [name.strip() or f"(column {n})" for n, name in enumerate(names, start=1)]
    twice = [name for name in stripped if stripped.count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} twice; rename or remove one")
    return stripped


def check_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise DataError naming the first missing column of `required`, and those that exist."""
    missing = [name for name in required if name not in names]
    if not missing:
        return
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names)
    message = f"{path} has no column {missing[0]!r}; its columns are {shown}"
    like = [name for name in names if _letters(name) == _letters(missing[0])]
    raise DataError(f"{message} (rename {like[0]!r} to {missing[0]!r})" if like else message)


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
