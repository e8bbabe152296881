"""CSV and Parquet files → tables that remember each row's line, and say which rows are no rows."""

import codecs
import csv
import re
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
from pyarrow import csv as pyarrow_csv

from groundswell.logs.errors import DataError

# Columns of a file cannot have these names: theirs are stripped.
ROW, LINE = " row", " line"
_FIRST_DATA_RECORD = 2
# A record may be long (a description), and pyarrow refuses one that is longer than a block.
_BLOCK_BYTES = 32 << 20
_NOT_UTF8 = "\ufdd1"
"""Stands for bytes that are not UTF-8: a code point that Unicode keeps from every text."""
_ESCAPED = re.compile("[\udc80-\udcff]")

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


def read_table(path: Path, required: tuple[str, ...]) -> RawTable:
    """Read a CSV or Parquet file, told apart by its content.

    Raises DataError naming the file, and the column where one of `required` is missing.
    """
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path} cannot be read: {reason}") from error
    table = _read_parquet(path) if parquet else _read_csv(path)
    missing = [name for name in required if name not in table.frame.columns]
    if missing:
        found = ", ".join(name for name in table.frame.columns if name not in (ROW, LINE))
        raise DataError(f"{path} has no column {missing[0]!r}; its columns are {found}")
    if table.num_rows == 0:
        raise DataError(f"{path} has a header and no rows")
    return table


def left_out(lines: pl.Series, reason: str) -> pl.DataFrame:
    """Say of the rows at `lines` why they were left out."""
    return pl.DataFrame({"line": lines.cast(pl.Int64)}).with_columns(reason=pl.lit(reason))


def _read_parquet(path: Path) -> RawTable:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    _check_names(path, frame.columns)
    frame = frame.rename(str.strip).with_columns(
        pl.col(pl.String).fill_null(""),
        pl.col(pl.Binary).map_batches(_decoded, return_dtype=pl.String),
    )
    rows = pl.int_range(frame.height, dtype=pl.Int64, eager=True)
    frame = frame.select(rows.alias(ROW), (rows + 1).alias(LINE), pl.all())
    return RawTable(frame, left_out(pl.Series([], dtype=pl.Int64), WRONG_FIELDS), frame.height)


def _read_csv(path: Path) -> RawTable:
    refused: list[pyarrow_csv.InvalidRow] = []

    def refuse(row: pyarrow_csv.InvalidRow) -> str:
        refused.append(row)
        return "skip"

    names = _header(path)
    try:
        table = pyarrow_csv.read_csv(
            path if _is_utf8(path) else pa.BufferReader(_mended(path)),
            # One thread: only then does pyarrow know the numbers of the rows that it refuses.
            read_options=pyarrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pyarrow_csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=refuse
            ),
            convert_options=pyarrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    if table.column_names != names:
        raise DataError(f"the header of {path} cannot be read")
    frame = pl.DataFrame({name.strip(): _text(table.column(name)) for name in names})
    return _with_lines(frame, refused)


def _header(path: Path) -> list[str]:
    """Read the names alone: how many fields a row must have is known before any row is read."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        names = next(csv.reader(file), [])
    if not names:
        raise DataError(f"{path} is empty" if path.stat().st_size == 0 else f"{path} has no header")
    if any("\ufffd" in name for name in names):
        raise DataError(f"the header of {path} is not UTF-8")
    _check_names(path, names)
    return names


def _is_utf8(path: Path) -> bool:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                decode(block)
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _mended(path: Path) -> bytes:
    """Read a file with each byte that is not UTF-8 replaced by `_NOT_UTF8`.

    pyarrow refuses a whole file when a row that is no row is no UTF-8 either.
    """
    text = path.read_bytes().decode(errors="surrogateescape")
    return _ESCAPED.sub(_NOT_UTF8, text).encode()


def _text(column: pa.ChunkedArray) -> pl.Series:
    """Take a column of text; null where the file is not UTF-8."""
    text = pl.Series(values=column)
    broken = text.str.contains(_NOT_UTF8, literal=True)
    return text.set(broken, None) if broken.any() else text


def _decoded(column: pl.Series) -> pl.Series:
    """Decode a column of bytes; empty where nothing stands, null where it is not UTF-8."""
    return pl.Series(column.name, [_decoded_value(x or b"") for x in column], dtype=pl.String)


def _decoded_value(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _check_names(path: Path, names: list[str]) -> None:
    stripped = [name.strip() for name in names]
    twice = [name for name in stripped if stripped.count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} twice")


def _with_lines(frame: pl.DataFrame, refused: list[pyarrow_csv.InvalidRow]) -> RawTable:
    """Number rows and lines as they are in the file: a record may be refused, or span lines."""
    numbers = pl.Series([row.number for row in refused], dtype=pl.Int64) - _FIRST_DATA_RECORD
    num_rows = frame.height + len(refused)
    rows = pl.int_range(num_rows, dtype=pl.Int64, eager=True)
    good = rows.filter(~rows.is_in(numbers.implode()))
    breaks = frame.select(
        pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True).fill_null(0))
    ).to_series()
    spans = pl.concat(
        [
            pl.DataFrame({ROW: good, "breaks": breaks.cast(pl.Int64)}),
            pl.DataFrame(
                {ROW: numbers, "breaks": [row.text.count("\n") for row in refused]},
                schema={ROW: pl.Int64, "breaks": pl.Int64},
            ),
        ]
    ).sort(ROW)
    lines = rows + _FIRST_DATA_RECORD + spans["breaks"].cum_sum().shift(1, fill_value=0)
    frame = frame.select(good.alias(ROW), lines.gather(good).alias(LINE), pl.all())
    several = pl.Series(["\n" in row.text for row in refused], dtype=pl.Boolean)
    empty = pl.all_horizontal(pl.exclude(ROW, LINE) == "").fill_null(False)
    gone = pl.concat(
        [
            left_out(lines.gather(numbers.filter(~several)), WRONG_FIELDS),
            left_out(lines.gather(numbers.filter(several)), OPEN_QUOTE),
            left_out(frame.filter(empty)[LINE], EMPTY_LINE),
        ]
    )
    return RawTable(frame.filter(~empty), gone, num_rows)
