"""Only rows that cannot be read are left out, and each is listed with its line and reason."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from groundswell.logs.errors import DataError
from groundswell.logs.events import BAD_ACTION, BAD_VALUE, NO_TIME, read_events
from groundswell.logs.times import BAD_TIME
from tests.unit.trainer.logs import HEADER, log, write


def test_every_bad_row_is_listed_with_its_line_and_its_reason(tmp_path: Path) -> None:
    rows = (
        "u,a,view,1700000000,",  # line 2, good
        ",a,view,1700000000,",
        "u, ,view,1700000000,",
        "u,a,watch,1700000000,",
        "u,a,view,yesterday,",
        "u,a,view,,",
        "u,a,view,nan,",
        "u,a,view,1700000000000,",
        "u,a,rate,1700000000,many",
        "u,a,rate,1700000000,inf",
        "u,a\0,view,1700000000,",
        f"{'u' * 257},a,view,1700000000,",
        "u,a,RATE ,1700000001, 4.5 ",  # line 14, good
    )
    events = read_events(write(tmp_path / "e.csv", log(*rows, header=f"{HEADER},value")))
    assert events.frame.select("ordinal", "action", "value").rows() == [(0, 1, None), (12, 7, 4.5)]
    assert events.num_rows == len(rows)
    assert events.left_out.rows() == [
        (3, "user_id is missing"),
        (4, "item_id is missing"),
        (5, BAD_ACTION),
        (6, BAD_TIME),
        (7, NO_TIME),
        (8, NO_TIME),
        (9, "timestamp is in milliseconds, those of most rows in seconds"),
        (10, BAD_VALUE),
        (11, BAD_VALUE),
        (12, "item_id holds a NUL"),
        (13, "user_id is longer than 256 bytes"),
    ]
    assert events.examples == {
        BAD_ACTION: ("watch",),
        BAD_TIME: ("yesterday",),
        BAD_VALUE: ("inf", "many"),
    }


def test_ids_that_are_not_utf8_are_left_out(tmp_path: Path) -> None:
    text = f"{HEADER}\ncaf\u00e9,a,view,1700000000\nu,a,view,1700000000\n".encode("latin-1")
    events = read_events(write(tmp_path / "e.csv", text))
    assert events.left_out.rows() == [(2, "user_id is not UTF-8")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", "2023-11-14T22:13:20"),
        ("1700000000.25", "2023-11-14T22:13:20.250000"),
        ("1.7e9", "2023-11-14T22:13:20"),
        ("-1000", "1969-12-31T23:43:20"),
        ("2023-11-14", "2023-11-14T00:00:00"),
        ("2023-11-14T22:13", "2023-11-14T22:13:00"),
        ("2023-11-14 22:13:20", "2023-11-14T22:13:20"),
        ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20"),
        ("2023-11-14T22:13:20.123456+02:00", "2023-11-14T20:13:20.123456"),
        ("20231114T221320Z", "2023-11-14T22:13:20"),
    ],
)
def test_times_are_epoch_seconds_or_iso_8601_in_one_file(
    tmp_path: Path, text: str, expected: str
) -> None:
    events = read_events(write(tmp_path / "e.csv", log(f"u,a,view,{text}", "u,a,view,1699999999")))
    time = datetime.fromisoformat(expected).replace(tzinfo=UTC)
    found = events.frame["time_us"][0]
    assert datetime.fromtimestamp(0, UTC).timestamp() + found / 1e6 == time.timestamp()


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([1_700_000_000, 1_700_000_001], dtype=pl.Int32),
        pl.Series([1_700_000_000.0, 1_700_000_001.0]),
        pl.Series(["1700000000", "2023-11-14T22:13:21Z"]),
        pl.Series([1_700_000_000_000, 1_700_000_001_000]).cast(pl.Datetime("ms")),
        pl.Series([1_700_000_000_000, 1_700_000_001_000]).cast(pl.Datetime("ms", "Asia/Tokyo")),
    ],
)
def test_parquet_may_hold_times_numbers_and_categories_of_any_type(
    tmp_path: Path, times: pl.Series
) -> None:
    frame = pl.DataFrame(
        {
            "user_id": pl.Series([7.0, 8.0]),
            "item_id": pl.Series([1, 2], dtype=pl.Int16),
            "action": pl.Series(["view", "rate"], dtype=pl.Categorical),
            "timestamp": times,
            "rating": pl.Series([None, 3], dtype=pl.Int8),
        }
    )
    frame.write_parquet(tmp_path / "e.parquet")
    events = read_events(tmp_path / "e.parquet").frame
    assert events.select("user_id", "item_id", "action", "time_us", "value").rows() == [
        ("7", "1", 1, 1_700_000_000_000_000, None),
        ("8", "2", 7, 1_700_000_001_000_000, 3.0),
    ]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("timestamp", pl.Series([60], dtype=pl.Duration("us"))),
        ("timestamp", pl.Series([60], dtype=pl.Time)),
        ("timestamp", pl.Series([True])),
        ("user_id", pl.Series([{"id": 1}])),
        ("value", pl.Series([[4.0]])),
        ("value", pl.Series(["2020-01-01"]).str.to_date()),
    ],
)
def test_a_parquet_column_that_can_never_be_what_is_due_is_refused_by_name(
    tmp_path: Path, name: str, column: pl.Series
) -> None:
    row = {"user_id": ["u"], "item_id": ["a"], "action": ["view"], "timestamp": [1_700_000_000]}
    pl.DataFrame({**row, name: column}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match=rf"column '{name}' of .*e\.parquet cannot be used"):
        read_events(tmp_path / "e.parquet")


def test_a_rating_column_is_the_value_and_other_columns_are_named_as_ignored(
    tmp_path: Path,
) -> None:
    text = log("u,a,rate,1700000000,4,web", header=f"{HEADER},rating,channel")
    events = read_events(write(tmp_path / "e.csv", text))
    assert events.frame["value"].to_list() == [4.0]
    assert events.ignored_columns == ("channel",)


def test_event_ids_are_kept_and_made_up_from_the_row_where_there_is_none(tmp_path: Path) -> None:
    text = log("u,a,view,1700000000,x", "u,a,view,1700000000,", header=f"{HEADER},event_id")
    events = read_events(write(tmp_path / "e.csv", text))
    assert events.frame["event_id"].to_list() == ["x", "row-1"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("u,a,view,0", "u,b,view,1", "v,a,view,0"), True),
        (("u,b,view,1", "v,a,view,0", "u,a,view,0"), True),
        (("u,a,view,0", "u,b,view,bad", "u,b,view,2"), True),
        (("u,a,view,0", "u,b,watch,1", "u,b,view,2"), True),
        (("u,a,view,0", "u,b,view,2"), False),
        (("u,a,view,0", "u,b,view,0", "u,b,view,1"), False),
        (("u,a,view,0", "u,b,view,0.5"), False),
        (("u,a,view,0", "v,b,view,1700000000"), False),
        (("u,a,view,2023-11-14", "u,b,view,2023-11-15"), False),
    ],
)
def test_a_log_whose_times_are_positions_is_recognised(
    tmp_path: Path, rows: tuple[str, ...], expected: bool
) -> None:
    assert read_events(write(tmp_path / "e.csv", log(*rows))).order_only is expected


def test_order_only_can_be_forced_and_checks_no_times(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", log("u,a,view,1700000000000000000", "u,b,view,-9e18"))
    events = read_events(path, force_order_only=True)
    assert events.order_only
    assert events.left_out.height == 0
    assert read_events(path).left_out["line"].to_list() == [3]
