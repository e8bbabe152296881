"""Times are recognised by their size or their form, or named by what stands there."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundswell.logs.errors import DataError
from groundswell.logs.events import NO_TIME, read_events
from groundswell.logs.times import BAD_TIME, TIME_RANGE, parse_time
from tests.unit.trainer.logs import log, write

T = 1_700_000_000
US = T * 1_000_000
DAY_US = 1_701_043_200_000_000
"""2023-11-27."""


@pytest.mark.parametrize(
    ("texts", "expected", "said"),
    [
        ((f"{T}", f"{T + 1}"), (US, US + 1_000_000), None),
        ((f"{T}000", f"{T}123"), (US, US + 123_000), "milliseconds"),
        ((f"{T}000000", f"{T}000123"), (US, US + 123), "microseconds"),
        ((f"{T}000000000", f"{T}000123999"), (US, US + 123), "nanoseconds"),
        ((f"{T}000.5", "1.7e12"), (US + 500, US), "milliseconds"),
        (("20231127", "20231128"), (DAY_US, DAY_US + 86_400_000_000), "dates as YYYYMMDD"),
        (("20231127000001", "20231127000000"), (DAY_US + 1_000_000, DAY_US), "YYYYMMDDHHMMSS"),
        (
            ("2023-11-27 00:00:00 UTC", "2023-11-27 00:00:00.5 UTC"),
            (DAY_US, DAY_US + 500_000),
            None,
        ),
        (("2023-11-27T00:00:00 GMT", "2023-11-27 00:00:00 Z"), (DAY_US, DAY_US), None),
        (("2023-11-27 01:00:00+01", "2023-11-26T19:00:00.000000999-0500"), (DAY_US, DAY_US), None),
        ((f"{T}000", "2023-11-27", "0"), (US, DAY_US, 0), "milliseconds"),
    ],
)
def test_the_unit_is_told_by_the_size_of_the_numbers(
    tmp_path: Path, texts: tuple[str, ...], expected: tuple[int, ...], said: str | None
) -> None:
    rows = [f"u,a,view,{text}" for text in texts]
    events = read_events(write(tmp_path / "e.csv", log(*rows)))
    assert not events.order_only
    assert tuple(events.frame["time_us"]) == expected
    notes = [note for note in events.notes if note.startswith("times are read as")]
    assert notes == [] if said is None else said in notes[0]


@pytest.mark.parametrize(
    ("texts", "line", "its_unit", "most"),
    [
        ((f"{T}", f"{T}", f"{T}000"), 4, "milliseconds", "seconds"),
        ((f"{T}", f"{T}000"), 3, "milliseconds", "seconds"),
        ((f"{T}", f"{T}000", f"{T}000"), 2, "seconds", "milliseconds"),
        ((f"{T}", f"{T}", "20231127"), 4, "dates as YYYYMMDD", "seconds"),
        (("20231127", "20231127", "5"), 4, "small numbers", "dates as YYYYMMDD"),
    ],
)
def test_numbers_of_another_unit_are_left_out_with_their_lines(
    tmp_path: Path, texts: tuple[str, ...], line: int, its_unit: str, most: str
) -> None:
    rows = [f"u,a,view,{text}" for text in texts]
    events = read_events(write(tmp_path / "e.csv", log(*rows)))
    reason = f"timestamp is in {its_unit}, those of most rows in {most}"
    assert events.left_out.rows() == [(line, reason)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("27.11.2023", BAD_TIME),
        ("11/27/2023 10:00", BAD_TIME),
        ("2023-11-27 10:00:00 Europe/Berlin", BAD_TIME),
        ("9e9", TIME_RANGE),
        ("-3e9", TIME_RANGE),
    ],
)
def test_what_is_no_time_is_named_by_what_stands_there(
    tmp_path: Path, text: str, reason: str
) -> None:
    events = read_events(write(tmp_path / "e.csv", log(f"u,a,view,{T}", f"u,a,view,{text}")))
    assert events.left_out.rows() == [(3, reason)]
    assert events.examples[reason] == (text,)
    with pytest.raises(DataError, match="no row that can be used") as error:
        read_events(write(tmp_path / "e.csv", log(f"u,a,view,{text}")))
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["", " ", "nan", "NULL", "\\N", "NaT"])
def test_a_time_that_is_missing_is_left_out_or_imputed(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "e.csv", log(f"u,a,view,{T}", f"u,b,view,{text}"))
    assert read_events(path).left_out.rows() == [(3, NO_TIME)]
    assert read_events(path, impute_times=True).frame["time_us"].to_list() == [US, US]


def test_days_of_a_spreadsheet_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", log("u,a,view,45256.5", "u,b,view,45257"))
    with pytest.raises(DataError, match=r"e\.csv.*45256\.5, look like the days of a spreadsheet"):
        read_events(path)
    assert read_events(path, force_order_only=True).left_out.height == 0


@pytest.mark.parametrize(
    "column",
    [
        pa.array([T, T + 1], pa.int32()),
        pa.array([T, T + 1], pa.uint64()),
        pa.array([T * 10**9, (T + 1) * 10**9], pa.int64()),
        pa.array([float(T), T + 1.0]),
        pa.array([Decimal(T), Decimal(T + 1)], pa.decimal128(20, 6)),
        pa.array([T, T + 1], pa.timestamp("s")),
        pa.array([T * 1000, T * 1000 + 1000], pa.timestamp("ms", "Asia/Tokyo")),
        pa.array([T * 10**6, (T + 1) * 10**6], pa.timestamp("us", "UTC")),
        pa.array([T * 10**9, (T + 1) * 10**9], pa.timestamp("ns")),
        pa.array([f"{T}", f"{T + 1}"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("int96", [False, True])
def test_parquet_may_hold_times_of_any_type(tmp_path: Path, column: pa.Array, int96: bool) -> None:
    row = {"user_id": ["u", "u"], "item_id": ["a", "b"], "action": ["view", "view"]}
    table = pa.table({**row, "timestamp": column})
    pq.write_table(table, tmp_path / "e.parquet", use_deprecated_int96_timestamps=int96)
    events = read_events(tmp_path / "e.parquet")
    assert events.frame["time_us"].to_list() == [US, US + 1_000_000]


def test_times_of_parquet_far_outside_are_out_of_range_and_not_wrapped(tmp_path: Path) -> None:
    row = {"user_id": ["u", "u"], "item_id": ["a", "b"], "action": ["view", "view"]}
    far = pa.array([2**62, T * 1000], pa.timestamp("ms"))
    pq.write_table(pa.table({**row, "timestamp": far}), tmp_path / "e.parquet")
    events = read_events(tmp_path / "e.parquet")
    assert events.frame["time_us"].to_list() == [US]
    assert events.left_out.height == 1


@pytest.mark.parametrize(
    "text", [f"{T}", f"{T}000", f"{T}000000", "2023-11-14T22:13:20Z", "2023-11-14 22:13:20 UTC"]
)
def test_one_time_is_read_as_a_log_is(text: str) -> None:
    assert parse_time(text) == T
    assert datetime.fromtimestamp(parse_time("20231127"), UTC).day == 27


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "1e15000", "yesterday", "", "9e9", "1e30"])
def test_what_is_no_time_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text!r} is ") as error:
        parse_time(text)
    assert "\n" not in str(error.value)
