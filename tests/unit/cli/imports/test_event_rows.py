"""A log's rows as events: every run of an import makes the same ones."""

from pathlib import Path

import pytest

from groundswell.cli.imports.event_rows import EventRows
from groundswell.common.v1.event_pb2 import ACTION_RATE, Event

HEADER = "user_id,item_id,action,timestamp,value\n"
LOG = (
    HEADER
    + "anna,i1,rate,881250949,5\n"
    + "ben,i2,view,881250950,\n"
    + "anna,i3,rate,881250940,4\n"
    + "anna,i4,rate,881250949,3\n"
)


def read(folder: Path, text: str, name: str = "events.csv") -> list[Event]:
    path = folder / name
    path.write_text(text)
    rows = EventRows(path)
    events = list(rows.since(0))
    assert len(events) == len(rows)
    return events


def test_a_row_becomes_an_event(tmp_path: Path) -> None:
    event = next(e for e in read(tmp_path, LOG) if e.item_id == "i1")
    assert (event.user_id, event.action, event.value) == ("anna", ACTION_RATE, 5.0)
    assert (event.time.seconds, event.ordinal) == (881250949, 0)
    assert not next(e for e in read(tmp_path, LOG) if e.item_id == "i2").HasField("value")


def test_each_users_rows_come_together_in_the_one_order(tmp_path: Path) -> None:
    events = read(tmp_path, LOG)
    assert [(e.user_id, e.item_id) for e in events] == [
        ("anna", "i3"),
        ("anna", "i1"),
        ("anna", "i4"),
        ("ben", "i2"),
    ]
    assert [e.ordinal for e in events] == [2, 0, 3, 1]


def test_a_second_reading_makes_the_same_ids(tmp_path: Path) -> None:
    assert read(tmp_path, LOG) == read(tmp_path, LOG, "copy.csv")
    assert len({e.event_id for e in read(tmp_path, LOG)}) == 4


def test_rows_of_two_logs_are_not_each_others_duplicates(tmp_path: Path) -> None:
    other = HEADER + "anna,i9,rate,881250999,5\n"
    assert read(tmp_path, LOG)[1].ordinal == read(tmp_path, other)[0].ordinal == 0
    ids = {e.event_id for e in read(tmp_path, LOG)} & {e.event_id for e in read(tmp_path, other)}
    assert ids == set()


def test_an_id_of_the_logs_own_is_kept(tmp_path: Path) -> None:
    text = "user_id,item_id,action,timestamp,event_id\nanna,i1,view,881250949,mine\n"
    assert [e.event_id for e in read(tmp_path, text)] == ["mine"]


@pytest.mark.parametrize("position", [0, 1, 3])
def test_reading_goes_on_at_any_row(tmp_path: Path, position: int) -> None:
    events = read(tmp_path, LOG)
    rows = EventRows(tmp_path / "events.csv")
    assert list(rows.since(position)) == events[position:]
    assert rows.at(position) == events[position]


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(LOG + "anna,i5,dance,881250999,1\n")
    rows = EventRows(path)
    assert len(rows) == 4
    assert rows.left_out["reason"].to_list() == ["action is unknown"]
