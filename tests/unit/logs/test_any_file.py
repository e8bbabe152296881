"""Whatever is in a file, it is read or named in one line; nothing is dropped without a word."""

import bz2
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.logs.errors import DataError
from groundswell.logs.events import Events, read_events
from groundswell.logs.items import Items, read_items

EVENT_NAMES = ("user_id", "item_id", "action", "timestamp", "value", "session_id", "event_id")
ITEM_NAMES = ("item_id", "title", "description", "categories", "available", "Price (EUR)", "sku")
CELLS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ("view", "rate", "1700000000", "1700000000000", "20231127", "2023-11-27 10:00:00 UTC")
    ),
    st.sampled_from(("nan", "\\N", "None", '"', '"a', "a\0", "00012", "1e5", "1.50", "|", "inf")),
    st.integers().map(str),
    st.floats().map(str),
)
PACKED = st.sampled_from((bytes, gzip.compress, bz2.compress, lambda content: content[:-3]))
ENCODINGS = st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-16-le"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "file [1]?.csv"


def check(file: Path) -> None:
    """Read the file as a log and as a catalogue."""
    for read in (read_events, read_items):
        try:
            found: Events | Items = read(file)
        except DataError as error:
            assert "\n" not in str(error).strip()
        else:
            assert found.frame.height + found.left_out.height == found.num_rows
            assert found.left_out["reason"].null_count() == 0


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(file)


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    names = draw(st.sampled_from((EVENT_NAMES, ITEM_NAMES)))
    separator, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(("\n", "\r\n", "\r")))
    rows = draw(st.lists(st.lists(CELLS, min_size=1, max_size=len(names)), max_size=8))
    text = end.join(separator.join(row) for row in (names, *rows))
    content = text.encode(draw(ENCODINGS), errors="replace")
    packed: bytes = draw(PACKED)(content)
    return packed


@settings(max_examples=80, deadline=None)
@given(csv_files())
def test_csv(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(file)


TYPES: tuple[tuple[pa.DataType, st.SearchStrategy[Any]], ...] = (
    (pa.string(), CELLS),
    (pa.binary(), st.binary(max_size=4)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int8(), st.integers(-(2**7), 2**7 - 1)),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.float16(), st.floats(width=16)),
    (pa.bool_(), st.booleans()),
    (pa.decimal128(38, 9), st.decimals(-(10**20), 10**20, places=9)),
    (pa.timestamp("s"), st.integers(-(2**53), 2**53)),
    (pa.timestamp("ms", "UTC"), st.integers(-(2**62), 2**62)),
    (pa.timestamp("us"), st.integers(-(2**62), 2**62)),
    (pa.timestamp("ns", "Asia/Tokyo"), st.integers(-(2**62), 2**62)),
    (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.duration("us"), st.integers(-(2**62), 2**62)),
    (pa.list_(pa.string()), st.lists(CELLS, max_size=3)),
    (pa.list_(pa.float64()), st.lists(st.floats(), max_size=3)),
    (pa.list_(pa.timestamp("ms")), st.lists(st.integers(-(2**62), 2**62), max_size=3)),
    (pa.list_(pa.duration("ms")), st.lists(st.integers(-9, 9), max_size=3)),
    (pa.struct([("a", pa.int8())]), st.fixed_dictionaries({"a": st.integers(0, 9)})),
    (pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(st.text(max_size=2), st.just(1)))),
    (pa.null(), st.none()),
)


@st.composite
def parquet_tables(draw: st.DrawFn) -> pa.Table:
    names = draw(st.sampled_from((EVENT_NAMES, ITEM_NAMES)))
    size = draw(st.integers(0, 5))
    columns = {}
    for name in names:
        kind, values = draw(st.sampled_from(TYPES))
        cells = draw(st.lists(st.none() | values, min_size=size, max_size=size))
        column = pa.array(cells, kind)
        flat = pa.types.is_string(kind) or pa.types.is_integer(kind)
        columns[name] = column.dictionary_encode() if flat and draw(st.booleans()) else column
    return pa.table(columns)


@settings(max_examples=80, deadline=None)
@given(parquet_tables(), st.booleans())
def test_parquet(file: Path, table: pa.Table, is_broken: bool) -> None:
    pq.write_table(table, file)
    if is_broken:
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + b"\xff\x00\xfe" + content[middle + 3 :])
    check(file)


def test_the_reading_of_a_column_does_not_depend_on_its_type(tmp_path: Path) -> None:
    """The same catalogue as CSV and as Parquet is the same."""
    frame = pl.DataFrame({"item_id": [1, 2], "title": ["A", "B"], "price": [1.5, 2.25]})
    frame.write_csv(tmp_path / "i.csv")
    frame.write_parquet(tmp_path / "i.parquet")
    columns = ("item_id", "title", "attributes")
    first, second = (read_items(tmp_path / f"i.{kind}") for kind in ("csv", "parquet"))
    assert first.frame.select(columns).rows() == second.frame.select(columns).rows()
