"""What looks wrong is counted, kept by default, and left out with its line where that is asked."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from groundswell.trainer.dataset import anomalies
from groundswell.trainer.dataset import prepared as data
from groundswell.trainer.dataset.filters import Filters
from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.errors import DataError
from tests.unit.trainer.logs import CATALOGUE, HEADER, events_of, log, write

T = 1_700_000_000
DAY = 86_400


def of(
    folder: Path, events: str, items: str = CATALOGUE, **options: Any
) -> tuple[dict[str, Any], list[str], list[tuple[str, int, str]]]:
    """Prepare: the report, the item of each event, and file, line, reason of what was left out."""
    files = write(folder / "e.csv", events), write(folder / "i.csv", items)
    report = prepare(*files, folder / "out", split=Split.NONE, options=Options(**options))
    listed = pl.read_csv(folder / "out" / data.LEFT_OUT).rows()
    return report, events_of(folder / "out")["item_id"].to_list(), listed


TWICE = log(
    f"u,a,view,{T},,x",
    f"u,a,view,{T},,y",
    f"u,a,view,{T},7,z",
    f"u,b,view,{T + 1},,x",
    f"v,a,view,{T},,x",
    header=f"{HEADER},value,event_id",
)


def test_duplicates_are_reported_and_kept_unless_they_are_to_be_dropped(tmp_path: Path) -> None:
    report, items, listed = of(tmp_path, TWICE)
    assert report["anomalies"]["duplicates"] == {"event_ids": 1, "rows": 1}
    assert (len(items), listed) == (5, [])
    report, items, listed = of(tmp_path, TWICE, filters=Filters(duplicates=True))
    assert items == ["a", "a", "a"]
    assert listed == [("events", 3, anomalies.REPEATED), ("events", 5, anomalies.REPEATED_ID)]
    assert report["filters"] == ["duplicates"]
    assert report["left_out"] == {anomalies.REPEATED: 1, anomalies.REPEATED_ID: 1}


def test_rows_of_a_log_of_positions_say_the_same_only_by_their_event_id(tmp_path: Path) -> None:
    text = log("u,a,view,0,x", "u,a,view,1,y", "u,a,view,2,x", header=f"{HEADER},event_id")
    report, items, _ = of(tmp_path, text, filters=Filters(duplicates=True))
    assert report["anomalies"]["duplicates"] == {"event_ids": 1, "rows": 0}
    assert items == ["a", "a"]


def test_times_in_the_future_and_before_1990_are_reported_and_may_be_dropped(
    tmp_path: Path,
) -> None:
    text = log("u,a,view,4000000000", f"u,b,view,{T}", "u,c,view,0")
    report, items, _ = of(tmp_path, text)
    assert report["anomalies"]["impossible_times"] == {"future": 1, "before_1990": 1}
    assert items == ["c", "b", "a"]
    assert any("lie before 1990 (--drop-impossible-times)" in said for said in report["warnings"])
    report, items, listed = of(tmp_path, text, filters=Filters(impossible_times=True))
    assert items == ["b"]
    assert listed == [("events", 2, anomalies.FUTURE), ("events", 4, anomalies.TOO_EARLY)]
    assert not any("--drop-impossible-times" in said for said in report["warnings"])


def crowd(num_users: int, *others: str) -> str:
    """People who do 1 to 9 things a day, half a minute apart, for some days; and others."""
    rows = [
        f"user-{user},a,view,{T + DAY * day + 30 * n}"
        for user in range(num_users)
        for day in range(1 + user % 4)
        for n in range(1 + user % 9)
    ]
    return log(*rows, *others)


def test_a_user_far_faster_than_all_others_is_a_machine(tmp_path: Path) -> None:
    scraper = [f"scraper,b,view,{T + 2 * n}" for n in range(3000)]
    burst = [f"burst,b,view,{T + n // 2}" for n in range(130)]
    report, items, listed = of(tmp_path, crowd(60, *scraper, *burst), filters=Filters(bots=True))
    found = report["anomalies"]["bots"]
    assert (found["users"], found["events"]) == (2, 3130)
    assert "b" not in items
    assert {reason for _, _, reason in listed} == {anomalies.MACHINE}
    assert len(listed) == 3130
    assert "scraper" not in str(report)


def test_a_machine_is_said_to_a_person_without_its_name(tmp_path: Path) -> None:
    report, items, _ = of(tmp_path, crowd(60, *(f"scraper,b,view,{T + n}" for n in range(900))))
    assert items.count("b") == 900
    (said,) = [text for text in report["warnings"] if "--drop-bots" in text]
    assert said.startswith("1 users with 900 events act faster than people do")
    assert "scraper" not in str(report)


def test_busy_people_and_a_log_whose_events_come_in_batches_are_no_machines(
    tmp_path: Path,
) -> None:
    busy = [f"busy,b,view,{T + 20 * n}" for n in range(1000)]
    report, _, _ = of(tmp_path, crowd(60, *busy))
    assert report["anomalies"]["bots"]["users"] == 0
    orders = [
        f"u{user},a,purchase,{T + DAY * user}" for user in range(40) for _ in range(20 + 3 * user)
    ]
    report, _, _ = of(tmp_path, log(*orders))
    assert report["anomalies"]["bots"]["users"] == 0


MUTE = "item_id,title,categories,description\na,Apple,,\nb,,Books,\nc, ,,\nd,,,Deep\n"


def test_items_without_text_and_their_events_may_be_dropped(tmp_path: Path) -> None:
    text = log(*(f"u,{item},view,{T + n}" for n, item in enumerate("abcdz")))
    report, items, _ = of(tmp_path, text, MUTE)
    assert report["anomalies"]["without_text"] == {"items": 1, "events": 2}
    assert items == ["a", "b", "c", "d", "z"]
    report, items, listed = of(tmp_path, text, MUTE, filters=Filters(without_text=True))
    assert items == ["a", "b", "d"]
    assert data.load_prepared(tmp_path / "out").item_ids == ["a", "b", "d"]
    assert listed == [
        ("events", 4, anomalies.ITEM_WITHOUT_TEXT),
        ("events", 6, anomalies.ITEM_WITHOUT_TEXT),
        ("items", 4, anomalies.NO_TEXT),
    ]


def test_filters_that_leave_nothing_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no event is left when impossible_times are left out"):
        of(tmp_path, log("u,c,view,0.5"), filters=Filters(impossible_times=True))
    assert not (tmp_path / "out").exists()


MISSING = log(
    "u,a,view,", f"u,b,view,{T}", "u,c,view,", "u,a,view,soon", f"u,b,view,{T + 9}", "v,a,view,"
)


def test_a_row_without_a_time_is_left_out_unless_times_are_imputed(tmp_path: Path) -> None:
    report, items, listed = of(tmp_path, MISSING)
    assert (items, len(listed), report["imputed_times"]) == (["b", "b"], 4, 0)
    report, items, listed = of(tmp_path, MISSING, impute_times=True)
    assert items == ["a", "b", "c", "b"]
    assert [line for _, line, _ in listed] == [5, 7]
    assert report["imputed_times"] == 2
    assert events_of(tmp_path / "out")["time_us"].to_list() == [T * 10**6] * 3 + [(T + 9) * 10**6]
