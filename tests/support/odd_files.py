"""Strategies of files as people have them: any encoding, separator and type, and wrong ones."""

import gzip
import io
import os
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252", "shift_jis")
COLUMNS = (
    *("user_id", "item_id", "action", "timestamp", "value", "session_id", "event_id"),
    *("title", "description", "categories", "available", "price", "Price (EUR)", "sku", "", " row"),
)
_DAY = datetime(2023, 11, 27, 12)

_values = st.one_of(
    st.sampled_from(
        [
            *("", " ", "u1", "u1 ", "i1", "view", "CLICK", "rate", "dance", "null", "None", "\\N"),
            *(
                "nan",
                "inf",
                "-inf",
                "1",
                "-1",
                "00012",
                "123.0",
                "1e400",
                "9" * 25,
                "true",
                "FALSE",
            ),
            *("1700000000", "1700000000000", "1700000000000000000", "20231127", "0", "-5"),
            *("2023-11-27T12:00:00Z", "2023-11-27 12:00:00 UTC", "9999-12-31", "10000-01-01"),
            *(
                "Drama|Comedy",
                "|",
                "é",
                "e\u0301",
                "ß\u200b",
                "漢字",
                "\U0001f600",
                "\x00",
                "\x1b[31m",
            ),
            *('"', "'", '""', "[red]", "a,b", "a;b", "a\tb", "a\nb", "=1+1", "x" * 3_000),
        ]
    ),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)


EVENTS = ("user_id", "item_id", "action", "timestamp")
ITEMS = ("item_id", "title")
_GOOD: dict[str, st.SearchStrategy[str]] = {
    "user_id": st.sampled_from(["u1", "u2"]),
    "item_id": st.sampled_from([f"i{n}" for n in range(6)]),
    "action": st.sampled_from(["click", "rate"]),
    "timestamp": st.integers(1_700_000_000, 1_700_009_999).map(str),
    "title": st.sampled_from(["One", "Two", ""]),
    "categories": st.sampled_from(["Drama", "Drama|Comedy", ""]),
}


@st.composite
def plain_files(draw: st.DrawFn, required: tuple[str, ...]) -> bytes:
    """A table in which nothing is wrong, but that it may be too small."""
    rows = draw(st.lists(st.tuples(*(_GOOD[name] for name in required)), min_size=1, max_size=30))
    return "\n".join(",".join(row) for row in [required, *rows]).encode()


@st.composite
def csv_files(draw: st.DrawFn, required: tuple[str, ...]) -> bytes:
    """A table of text, mostly with the columns that are needed and good rows, in any form."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), max_size=3))
    if draw(st.integers(0, 5)):
        columns = list(dict.fromkeys([*required, *columns]))
    good = st.tuples(*(_GOOD.get(name, _values) for name in columns))
    odd = st.lists(_values, min_size=len(columns), max_size=len(columns))
    ragged = st.lists(_values, max_size=8)
    rows = draw(st.lists(st.one_of(good, good, good, odd), max_size=14))
    rows += draw(st.one_of(st.just([]), st.just([]), st.lists(ragged, max_size=2)))
    separator = draw(st.sampled_from(",,,,;\t|"))
    is_quoted = draw(st.booleans())

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if is_quoted else text

    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    lines = [separator.join(map(cell, row)) for row in [columns, *rows]]
    text = end.join(lines) + draw(st.sampled_from(["", end, end * 3, '"', "\x1a"]))
    data = text.encode(draw(st.sampled_from(["utf-8"] * 6 + [*ENCODINGS])), "replace")
    return gzip.compress(data) if draw(st.integers(0, 9)) == 0 else data


_columns_of_parquet: list[st.SearchStrategy[Any]] = [
    st.sampled_from(["u1", "i1", "click", "1", "é", ""]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.binary(max_size=5),
    st.just(_DAY),
    st.just(_DAY.date()),
    st.just(timedelta(days=1)),
    st.just(Decimal("3.000000000000000000")),
    st.lists(st.sampled_from(["Drama", "Comedy"]), max_size=2),
    st.just({"a": 1}),
    st.none(),
    st.just(date(9999, 12, 31)),
]


@st.composite
def parquet_files(draw: st.DrawFn, required: tuple[str, ...]) -> bytes:
    """A Parquet table of any types, now and then cut off."""
    names = draw(st.lists(st.sampled_from([c for c in COLUMNS if c]), unique=True, max_size=3))
    names = list(dict.fromkeys([*required, *names]))
    height = draw(st.integers(0, 5))

    def values(name: str) -> list[Any]:
        one = _GOOD.get(name, st.just("x"))
        if draw(st.integers(0, 2)) == 0:
            one = draw(st.sampled_from(_columns_of_parquet)) | st.none()
        return draw(st.lists(one, min_size=height, max_size=height))

    frame = pl.DataFrame({name: pl.Series(values(name)) for name in names})
    if draw(st.booleans()):
        texts = [n for n in frame.columns if frame[n].dtype == pl.String]
        frame = frame.with_columns(pl.col(texts).cast(pl.Categorical))
    file = io.BytesIO()
    frame.write_parquet(file)
    data = file.getvalue()
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 4)) == 0 else data


_WRONG = [b"", b"PAR1", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf", b"\n\n\n"]


def files(required: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Any file, mostly a table with these columns."""
    table = csv_files(required)
    wrong = st.binary(max_size=200) | st.sampled_from(_WRONG)
    plain = plain_files(required)
    odd = [table, table, table, parquet_files(required), wrong]
    return st.one_of([plain] * len(odd) + odd)


names = st.sampled_from(
    [
        *("log.csv", "log.parquet", "log[1].parquet", "log*.csv", "a b.csv", "50%20.csv", "q?.csv"),
        *("-x.csv", "log.csv.gz", "日本.tsv", "new\nline.csv", "log.xlsx", "{a,b}.csv", "#1.csv"),
        os.fsdecode(b"not-utf8-\xff.csv"),
    ]
)
