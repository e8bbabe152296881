"""CSV files with any usual separator → tables of text with the line of each row."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa
from pyarrow import csv as pyarrow_csv

from groundswell.logs.csv_quotes import ESCAPED_QUOTE, with_doubled_quotes
from groundswell.logs.errors import DataError
from groundswell.logs.raw_table import (
    LINE,
    OPEN_QUOTE,
    ROW,
    WRONG_FIELDS,
    RawTable,
    check_columns,
    left_out,
    stripped_names,
)
from groundswell.logs.source import HEAD_BYTES, SourceFile

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SPOKEN = {"tab": "\t", "\\t": "\t"}
_FIRST_DATA_RECORD = 2
# A record may be long (a description), and pyarrow refuses one that is longer than a block.
_BLOCK_BYTES = 32 << 20
_NOT_UTF8 = "\ufdd1"
"""Replaces bytes that are not UTF-8: a code point that Unicode allows in no text."""
_ESCAPED = re.compile("[\udc80-\udcff]")
_LINE_END = re.compile("\r\n|\r|\n")


def parse_separator(text: str | None) -> str | None:
    """Read the option for the separator. Raises DataError unless it is one character."""
    if text is None:
        return None
    separator = _SPOKEN.get(text, text)
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0':
        raise DataError(f"a separator is one character, such as ';', or tab: not {text!r}")
    return separator


def read_csv(source: SourceFile, required: Sequence[str], separator: str | None) -> RawTable:
    """Read a CSV file. Without a separator it is the one by which the header has `required`.

    Commas come first, then tabs, semicolons and bars.
    """
    separator, names = _header(source, required, separator)
    look = _looked_through(source)
    content = _doubled(source, separator) if look.has_escaped_quotes else None
    notes = list(source.notes)
    if content is not None:
        notes.append("a quote after a backslash is read as part of the value")
    odd_quotes = look.has_odd_quotes if content is None else content.count(b'"') % 2 == 1
    if not look.is_utf8:
        content = _marked(_whole(source) if content is None else content)
    frame, refused = _rows(source, names, separator, content)
    if not look.is_utf8:
        notes.append("not all of it is UTF-8: convert it, as by iconv -f LATIN1 -t UTF-8")
    if separator != ",":
        notes.append(f"columns separated by {SEPARATORS.get(separator, repr(separator))}")
    table = _with_lines(frame, refused, tuple(notes))
    num_lost = sum(row.text.rstrip("\n").count("\n") for row in refused)
    if odd_quotes:
        table, num_open = _without_open_end(table)
        num_lost += num_open
    return _without_empty(table)._replace(notes=(*table.notes, *_lost(num_lost)))


def _lost(num_lines: int) -> list[str]:
    """Count the lines, after the first, of the rows that are left out."""
    if not num_lines:
        return []
    return [f"{num_lines:,} more lines belong to rows left out whose quote may never be closed"]


def _header(
    source: SourceFile, required: Sequence[str], separator: str | None
) -> tuple[str, list[str]]:
    """Find the separator and the names of the columns before any row is read."""
    path = source.path
    if not source.head:
        raise DataError(f"{path} is empty")
    text = source.head.decode("utf-8-sig", errors="replace")
    if text.startswith("sep="):
        raise DataError(f"{path} begins with {text.splitlines()[0]!r}: remove that line")
    if not _LINE_END.split(text, maxsplit=1)[0].strip():
        raise DataError(f"{path} has no header: its first line is empty")
    tried = {s: _names(text, s) for s in ([separator] if separator else SEPARATORS)}
    chosen = max(tried, key=lambda s: (_has_all(tried[s], required), len(tried[s])))
    names = tried[chosen]
    if len(source.head) < HEAD_BYTES and len(text.splitlines()) == 1:
        check_columns(path, stripped_names(path, names), required)
        raise DataError(f"{path} has a header but no rows")
    if not _has_all(names, required) and any("\n" in name for name in names):
        raise DataError(f"the header of {path} spans several lines: is a quote never closed?")
    if any("\ufffd" in name for name in names):
        raise DataError(f"the header of {path} is not UTF-8: convert it, as by iconv -t UTF-8")
    return chosen, stripped_names(path, names)


def _names(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [""])
    except csv.Error:  # a field without an end: the quote at its start is never closed
        return ["\n"]


def _has_all(names: Sequence[str], required: Sequence[str]) -> bool:
    return {name.strip() for name in names}.issuperset(required)


def _rows(
    source: SourceFile, names: list[str], separator: str, content: bytes | None
) -> tuple[pl.DataFrame, list[pyarrow_csv.InvalidRow]]:
    refused: list[pyarrow_csv.InvalidRow] = []

    def refuse(row: pyarrow_csv.InvalidRow) -> str:
        refused.append(row)
        return "skip"

    try:
        with source.open() as file:
            table = pyarrow_csv.read_csv(
                file if content is None else pa.BufferReader(content),
                # One thread: only then does pyarrow know the numbers of the rows that it refuses.
                read_options=pyarrow_csv.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK_BYTES,
                    column_names=names,
                    skip_rows_after_names=1,
                ),
                parse_options=pyarrow_csv.ParseOptions(
                    delimiter=separator,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=refuse,
                ),
                convert_options=pyarrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
    except pa.ArrowInvalid as error:
        raise DataError(f"{source.path} cannot be read as CSV: {error}") from error
    if refused and refused[0].number < _FIRST_DATA_RECORD:
        raise DataError(f"the header of {source.path} cannot be read")
    return pl.DataFrame({name: _text(table.column(name)) for name in names}), refused


class _Look(NamedTuple):
    """What is found in the bytes of a whole file before it is parsed."""

    is_utf8: bool
    has_odd_quotes: bool
    has_escaped_quotes: bool
    """Whether any quote follows a backslash."""


def _looked_through(source: SourceFile) -> _Look:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    is_utf8, quotes, has_escaped, end = True, 0, False, b""
    with source.open() as file:
        while block := file.read(_BLOCK_BYTES):
            quotes += block.count(b'"')
            has_escaped = has_escaped or ESCAPED_QUOTE in block or end + block[:1] == ESCAPED_QUOTE
            end = block[-1:]
            is_utf8 = is_utf8 and _decodes(decode, block, final=False)
    return _Look(is_utf8 and _decodes(decode, b"", final=True), quotes % 2 == 1, has_escaped)


def _doubled(source: SourceFile, separator: str) -> bytes | None:
    """Return the file with its escaped quotes written twice; None where it escapes none."""
    return with_doubled_quotes(_whole(source), separator)


def _whole(source: SourceFile) -> bytes:
    with source.open() as file:
        return file.read()


def _decodes(decode: Callable[[bytes, bool], str], block: bytes, *, final: bool) -> bool:
    try:
        decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _marked(content: bytes) -> bytes:
    """Return bytes with each byte that is not UTF-8 replaced by `_NOT_UTF8`.

    pyarrow refuses the whole file when a malformed row is not UTF-8.
    """
    text = content.decode(errors="surrogateescape")
    return _ESCAPED.sub(_NOT_UTF8, text).encode()


def _text(column: pa.ChunkedArray) -> pl.Series:
    """A column of text; null where the file is not UTF-8."""
    text = pl.Series(values=column)
    broken = text.str.contains(_NOT_UTF8, literal=True)
    return text.set(broken, None) if broken.any() else text


def _with_lines(
    frame: pl.DataFrame, refused: list[pyarrow_csv.InvalidRow], notes: tuple[str, ...]
) -> RawTable:
    """Number rows and lines as in the file: a record may be refused, or span several lines."""
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
    gone = pl.concat(
        [
            left_out(lines.gather(numbers.filter(~several)), WRONG_FIELDS),
            left_out(lines.gather(numbers.filter(several)), OPEN_QUOTE),
        ]
    )
    return RawTable(frame, gone, num_rows, notes)


def _without_open_end(table: RawTable) -> tuple[RawTable, int]:
    """Leave out the last row when its quote is never closed; count the lines that it took in."""
    last = table.frame.tail(1)
    if last.height == 0 or last[ROW].item() != table.num_rows - 1:
        return table, 0
    open_value = last[table.names[-1]].item() or ""
    if "\n" not in open_value:
        return table, 0
    gone = pl.concat([table.left_out, left_out(last[LINE], OPEN_QUOTE)])
    kept = table._replace(frame=table.frame.head(-1), left_out=gone)
    return kept, open_value.rstrip("\n").count("\n")


def _without_empty(table: RawTable) -> RawTable:
    """Skip lines without any value, which editors leave, and number the rows without them."""
    values = table.frame.select(pl.all_horizontal(pl.exclude(ROW, LINE) == "").fill_null(False))
    empty = values.to_series().cast(pl.Int64)
    frame = table.frame.with_columns(pl.col(ROW) - empty.cum_sum()).filter(empty == 0)
    return table._replace(frame=frame, num_rows=table.num_rows - int(empty.sum()))
