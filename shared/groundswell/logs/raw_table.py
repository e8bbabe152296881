"""A file as it was read: each row with its line, and what is no row with its reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from groundswell.logs.errors import DataError

# Columns of a file cannot have these names: theirs are stripped.
ROW, LINE = " row", " line"

WRONG_FIELDS = "another number of fields than the header has"
OPEN_QUOTE = f"{WRONG_FIELDS}, over several lines: is a quote never closed?"
EMPTY_LINE = "empty line"


class RawTable(NamedTuple):
    """A file as it was read."""

    frame: pl.DataFrame
    """The file's columns, with ROW (0-based among the data rows) and LINE (1-based) before them.
    From CSV every column is text. A text is empty where nothing stands, null where it is not
    UTF-8."""
    left_out: pl.DataFrame
    """line, reason of what could not be read as a row."""
    num_rows: int
    """Data rows in the file, those left out included."""
    notes: tuple[str, ...]
    """What a person should know of how it was read."""

    @property
    def names(self) -> list[str]:
        """The file's columns."""
        return [name for name in self.frame.columns if name not in (ROW, LINE)]

    @property
    def how_read(self) -> str:
        """The notes in brackets, for the end of an error; empty without any."""
        return f" ({'; '.join(self.notes)})" if self.notes else ""


def left_out(lines: pl.Series, reason: str) -> pl.DataFrame:
    """Say of the rows at `lines` why they were left out."""
    return pl.DataFrame({"line": lines.cast(pl.Int64)}).with_columns(reason=pl.lit(reason))


def nothing_left_out() -> pl.DataFrame:
    """An empty table of rows left out."""
    return left_out(pl.Series([], dtype=pl.Int64), WRONG_FIELDS)


def stripped_names(path: Path, names: Sequence[str]) -> list[str]:
    """Strip the names of columns; one without a name is called by its place.

    Raises DataError for a name that comes twice.
    """
    stripped = [name.strip() or f"(column {n})" for n, name in enumerate(names, start=1)]
    twice = [name for name in stripped if stripped.count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} twice; rename or remove one")
    return stripped


def check_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise DataError naming the first of `required` that is missing, and what there is."""
    missing = [name for name in required if name not in names]
    if not missing:
        return
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names)
    message = f"{path} has no column {missing[0]!r}; its columns are {shown}"
    like = [name for name in names if _letters(name) == _letters(missing[0])]
    raise DataError(f"{message} (rename {like[0]!r} to {missing[0]!r})" if like else message)


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
