"""`prepare` reports what a log holds, what was left out and what looks wrong."""

import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from groundswell.trainer.dataset import prepared as data
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.report import print_report
from groundswell.trainer.dataset.splits import Split
from tests.unit.trainer.logs import CATALOGUE, HEADER, log, prepared, write

T = 1_700_000_000


def test_an_item_that_the_item_file_lacks_gets_an_empty_title_and_is_reported(
    tmp_path: Path,
) -> None:
    report, events = prepared(tmp_path, log(f"u,zebra,view,{T}", f"u,a,view,{T}"))
    assert events["item_id"].to_list() == ["zebra", "a"]
    assert report["items_without_file"] == 1
    assert any("not in the item file" in warning for warning in report["warnings"])
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.item_ids == ["a", "b", "c", "zebra"]
    assert loaded.titles[3] == loaded.texts[3] == ""


def test_what_is_left_out_is_counted_in_the_report_and_listed_with_file_and_line(
    tmp_path: Path,
) -> None:
    events = log(f"u,a,view,{T}", f"u,,view,{T}", "u,a,view,soon", f"u,a,gaze,{T}")
    report, kept = prepared(tmp_path, events, f"{CATALOGUE}a,Again\n")
    assert report["rows_read"] == 4
    assert kept.height == 1
    assert sum(report["left_out"].values()) == 3
    listed = pl.read_csv(tmp_path / "out" / data.LEFT_OUT).rows()
    assert [row[:2] for row in listed] == [
        ("events", 3),
        ("events", 4),
        ("events", 5),
        ("items", 5),
    ]
    assert any("'gaze'" in warning for warning in report["warnings"])


def test_the_report_says_what_the_log_holds(tmp_path: Path) -> None:
    rows = (f"u,a,view,{T}", f"u,b,view,{T}", f"u,c,view,{T + 9}", f"v,a,view,{T}")
    report, _ = prepared(tmp_path, log(*rows), split=Split.LEAVE_ONE_OUT)
    assert (report["events"], report["users"], report["items"]) == (4, 2, 3)
    assert report["density"] == pytest.approx(4 / 6)
    assert report["equal_times"] == 2
    assert report["first_time"] == "2023-11-14T22:13:20Z"
    assert report["split_events"] == [2, 1, 1]
    assert report["targets"] == [1, 1]
    assert any("fewer than 3 events" in warning for warning in report["warnings"])
    assert json.loads((tmp_path / "out" / data.META).read_text())["report"] == report


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((f"u,a,view,{T}",) * 2, "say the same as another"),
        (("u,a,view,4000000000",), "lie in the future"),
        ((f"u,a,view,{T}", *(f"u,a,view,{T}000",) * 2), "milliseconds"),
    ],
)
def test_what_looks_wrong_is_said(tmp_path: Path, rows: tuple[str, ...], said: str) -> None:
    report, _ = prepared(tmp_path, log(*rows))
    assert any(said in warning for warning in report["warnings"])


def test_repeated_event_ids_are_kept_and_said(tmp_path: Path) -> None:
    text = log(f"u,a,view,{T},x", f"u,b,view,{T + 1},x", header=f"{HEADER},event_id")
    report, events = prepared(tmp_path, text)
    assert events["item_id"].to_list() == ["a", "b"]
    assert any("repeat an event_id" in warning for warning in report["warnings"])


def test_the_report_is_shown_to_a_person_with_names_in_brackets_as_they_are(
    tmp_path: Path,
) -> None:
    events = write(tmp_path / "e.csv", log(f"u,a,view,{T}", f"u,a,[red]gaze,{T}"))
    console = Console(record=True, width=120, quiet=False, file=(tmp_path / "shown").open("w"))
    report = prepare(events, write(tmp_path / "i.csv", CATALOGUE), tmp_path / "out")
    print_report(report, console)
    shown = console.export_text()
    assert "3 (1 with events)" in shown
    assert "left out: 1 event rows: action is unknown" in shown
    assert "'[red]gaze'" in shown
