"""Ids are read by one rule from every type, and what is changed or names nothing is counted."""

from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundswell.logs.alike import alike_users, find_alike
from groundswell.logs.events import read_events
from groundswell.logs.items import SECOND, read_items
from groundswell.logs.texts import INEXACT, NO_VALUE, as_ids, as_text
from tests.unit.trainer.logs import HEADER, log, write

T = 1_700_000_000


def test_blanks_at_the_ends_make_no_other_user_and_are_counted(tmp_path: Path) -> None:
    rows = (f"u3,a,view,{T}", f"u3 ,b,view,{T}", f"\u00a0u3\t, a,view,{T}")
    events = read_events(write(tmp_path / "e.csv", log(*rows)))
    assert events.frame.select("user_id", "item_id").rows() == [
        ("u3", "a"),
        ("u3", "b"),
        ("u3", "a"),
    ]
    assert "blanks around 2 values of user_id were removed" in events.notes
    assert "blanks around 1 values of item_id were removed" in events.notes


def test_items_that_are_one_without_their_blanks_count_once(tmp_path: Path) -> None:
    items = read_items(write(tmp_path / "i.csv", "item_id,title\na,First\na ,Second\n"))
    assert items.frame["title"].to_list() == ["First"]
    assert items.left_out.rows() == [(3, SECOND)]


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "None", "none", "NULL", "null", "\\N", "<NA>", "NaT", " nan "]
)
def test_a_word_for_no_value_is_no_id(tmp_path: Path, word: str) -> None:
    rows = (f"{word},a,view,{T}", f"u,{word},view,{T}", f"u,a,view,{T}")
    events = read_events(write(tmp_path / "e.csv", log(*rows)))
    assert events.left_out.rows() == [(2, f"user_id is {NO_VALUE}"), (3, f"item_id is {NO_VALUE}")]
    items = read_items(write(tmp_path / "i.csv", f"item_id,title\n{word},A\nb,B\n"))
    assert items.left_out.rows() == [(2, f"item_id is {NO_VALUE}")]


def test_names_that_only_begin_like_such_a_word_are_ids(tmp_path: Path) -> None:
    rows = [f"{name},a,view,{T}" for name in ("nancy", "nonesuch", "N", "NA", "nil", "0")]
    assert read_events(write(tmp_path / "e.csv", log(*rows))).left_out.height == 0


def test_a_word_for_no_value_is_a_missing_session_event_id_or_value_and_is_said(
    tmp_path: Path,
) -> None:
    header = f"{HEADER},session_id,event_id,value"
    rows = (f"u,a,view,{T},nan,NULL,\\N", f"u,b,view,{T},s,e,4")
    events = read_events(write(tmp_path / "e.csv", log(*rows, header=header)))
    found = events.frame.select("session_id", "event_id", "value").rows()
    assert found == [("", "row-0", None), ("s", "e", 4.0)]
    assert [note.split(":")[0] for note in events.notes] == ["session_id", "event_id", "value"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([3.0, 3.5, None]), ["3", "3.5", ""]),
        (pl.Series([3.0, 3.5], dtype=pl.Float32), ["3", "3.5"]),
        (pl.Series([Decimal("3.000000000000000000"), Decimal("12.500")]), ["3", "12.5"]),
        (pl.Series([Decimal("100"), Decimal("0")]), ["100", "0"]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
        (pl.Series([2**53 - 1.0]), ["9007199254740991"]),
        (pl.Series(["123.0", "00012"]), ["123.0", "00012"]),
        (pl.Series([True, False]), ["true", "false"]),
    ],
)
def test_an_id_reads_the_same_from_every_type(column: pl.Series, expected: list[str]) -> None:
    ids = as_ids(column)
    assert ids.text.to_list() == expected
    assert ids.problem.null_count() == len(expected)


@pytest.mark.parametrize(("kind", "limit"), [(pl.Float64, 2.0**53), (pl.Float32, 2.0**24)])
def test_floats_so_large_that_two_ids_would_be_one_are_refused(
    kind: type[pl.DataType], limit: float
) -> None:
    column = pl.Series([limit, -limit, limit - 1, float("nan"), None], dtype=kind)
    assert as_ids(column).problem.to_list() == [INEXACT, INEXACT, None, NO_VALUE, None]


def test_large_floats_as_ids_are_listed_with_their_reason(tmp_path: Path) -> None:
    frame = {"user_id": [2.0**60, 1.0], "item_id": ["a", "a"]}
    table = pl.DataFrame({**frame, "action": ["view"] * 2, "timestamp": [T, T]})
    table.write_parquet(tmp_path / "e.parquet")
    events = read_events(tmp_path / "e.parquet")
    assert events.left_out.rows() == [(1, f"user_id is {INEXACT}")]
    assert events.frame["user_id"].to_list() == ["1"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["7", "8"]).dictionary_encode(),
        pa.array(["7", "8"], pa.large_string()),
        pa.array(["7", "8"], pa.string_view()),
        pa.array([b"7", b"8"]),
        pa.array([7, 8], pa.uint8()),
        pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 18)),
        pa.array([Decimal(7), Decimal(8)], pa.decimal256(60, 18)),
        pa.array([7.0, 8.0], pa.float32()),
        pa.array([7.0, 8.0], pa.float16()),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_may_hold_ids_of_any_type(tmp_path: Path, column: pa.Array) -> None:
    columns = {"item_id": column, "title": pa.array(["A", "B"])}
    pq.write_table(pa.table(columns), tmp_path / "i.parquet")
    assert read_items(tmp_path / "i.parquet").frame["item_id"].to_list() == ["7", "8"]


def test_uuids_of_parquet_are_written_as_people_write_them(tmp_path: Path) -> None:
    value = bytes(range(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([value], pa.binary(16)))
    pq.write_table(pa.table({"item_id": column, "title": ["A"]}), tmp_path / "i.parquet")
    (item_id,) = read_items(tmp_path / "i.parquet").frame["item_id"]
    assert item_id == "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_a_column_that_is_null_throughout_is_missing(tmp_path: Path) -> None:
    columns = {"item_id": ["a"], "title": pa.nulls(1), "price": pa.nulls(1)}
    pq.write_table(pa.table(columns), tmp_path / "i.parquet")
    items = read_items(tmp_path / "i.parquet")
    assert items.frame.select("title", "attributes").rows() == [("", "{}")]


def test_dates_are_written_as_such_and_far_ones_do_not_end_the_reading() -> None:
    assert as_text(pl.Series([0, 2**62, None]).cast(pl.Datetime("ms"))).to_list() == [
        "1970-01-01 00:00:00.000",
        str(2**62),
        "",
    ]
    assert as_text(pl.Series([0, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)).to_list() == [
        "1970-01-01",
        str(2**31 - 1),
    ]


@pytest.mark.parametrize(
    ("unknown", "known", "cause"),
    [
        ("123.0", "123", "a fraction of zeros"),
        ("123", "123.0", "a fraction of zeros"),
        ("00012", "12", "zeros in front"),
        ("12", "00012", "zeros in front"),
        ("cafe\u0301", "caf\u00e9", "their Unicode form"),
        ("\uff21\uff22", "AB", "their Unicode form"),
        ("SKU-1", "sku-1", "capital letters"),
        ("a\u200bb", "ab", "blanks or invisible characters"),
        ("a  b", "a b", "blanks or invisible characters"),
    ],
)
def test_ids_that_only_look_alike_are_named_with_their_cause(
    unknown: str, known: str, cause: str
) -> None:
    (found,) = find_alike(pl.Series([unknown, "zzz"]), pl.Series([known, "other"]))
    assert (found.cause, found.num_ids, found.example, found.known) == (cause, 1, unknown, known)
    assert str(found).isascii()


def test_users_that_differ_in_form_alone_are_named() -> None:
    users = pl.Series(["1", "1.0", "2.0", "cafe\u0301", "caf\u00e9", "Anna", "anna"])
    assert [(a.example, a.known) for a in alike_users(users)] == [
        ("1.0", "1"),
        ("cafe\u0301", "caf\u00e9"),
    ]


def test_ids_that_a_spreadsheet_shortened_are_named(tmp_path: Path) -> None:
    rows = (f"1.23457E+11,a1,view,{T}", f"1,2.3E+12,view,{T}", f"7e5,a,view,{T}")
    events = read_events(write(tmp_path / "e.csv", log(*rows)))
    assert events.notes == tuple(
        f"1 values of {name}, such as {example}, look like numbers that a spreadsheet shortened: "
        "different ones may have become one"
        for name, example in (("user_id", "'1.23457E+11'"), ("item_id", "'2.3E+12'"))
    )
