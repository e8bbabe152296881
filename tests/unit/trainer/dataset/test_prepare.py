"""`prepare` turns two files into an ordered, split folder, or into one clear error."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.trainer.dataset import prepared as data
from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.errors import DataError
from tests.unit.trainer.logs import CATALOGUE, HEADER, events_of, log, prepared, write

T = 1_700_000_000


def test_rows_of_one_user_with_equal_times_keep_the_order_of_the_input(tmp_path: Path) -> None:
    rows = (f"u,c,view,{T}", f"v,a,view,{T}", f"u,a,view,{T}", f"u,b,view,{T - 5}")
    _, events = prepared(tmp_path, log(*rows))
    assert events.select("user_id", "item_id", "ordinal").rows() == [
        ("u", "b", 3),
        ("u", "c", 0),
        ("u", "a", 2),
        ("v", "a", 1),
    ]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_with_different_times_does_not_matter(
    tmp_path: Path, shuffle: random.Random
) -> None:
    rows = [f"u{n % 3},{'abc'[n % 3]},view,{T + 100 * n}" for n in range(12)]
    shuffled = list(rows)
    shuffle.shuffle(shuffled)
    columns = ("user_id", "item_id", "action", "time_us", "session_start", "split", "target")
    _, first = prepared(tmp_path, log(*rows), split=Split.LEAVE_ONE_OUT)
    _, second = prepared(tmp_path, log(*shuffled), split=Split.LEAVE_ONE_OUT)
    assert first.select(columns).equals(second.select(columns))


def test_positions_instead_of_times_mean_order_only_without_sessions(tmp_path: Path) -> None:
    rows = ("u,a,view,0", "u,b,view,1", "u,c,view,2", "v,a,view,0")
    report, events = prepared(tmp_path, log(*rows))
    assert report["order_only"] is True
    assert report["first_time"] is None
    assert events["session_start"].to_list() == [True, False, False, True]
    assert data.load_prepared(tmp_path / "out").order_only


def test_forced_order_only_turns_times_into_positions(tmp_path: Path) -> None:
    rows = (f"u,a,view,{T + 10**6}", f"u,b,view,{T}", f"u,c,view,{T}")
    report, events = prepared(tmp_path, log(*rows), order_only=True)
    assert report["order_only"] is True
    assert events["item_id"].to_list() == ["b", "c", "a"]
    assert events["time_us"].to_list() == [0, 1_000_000, 2_000_000]
    assert events["session_start"].to_list() == [True, False, False]


def test_sessions_start_at_gaps_or_where_the_session_id_changes(tmp_path: Path) -> None:
    rows = (
        f"u,a,view,{T},x",
        f"u,b,view,{T + 7200},x",
        f"u,c,view,{T + 7201},y",
        f"v,a,view,{T},",
        f"v,b,view,{T + 60},",
        f"v,c,view,{T + 60 + 1801},",
    )
    _, events = prepared(tmp_path, log(*rows, header=f"{HEADER},session_id"))
    assert events["session_start"].to_list() == [True, False, True, True, False, True]


def test_a_temporal_split_of_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only positions"):
        prepared(tmp_path, log("u,a,view,0", "u,b,view,1"), split=Split.TEMPORAL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("events", "items", "message"),
    [
        ("", CATALOGUE, "events.csv is empty"),
        (log(), CATALOGUE, "events.csv has a header but no rows"),
        ("user_id,item_id,action\nu,a,view\n", CATALOGUE, "events.csv has no column 'timestamp'"),
        (log("u,a,gaze,1"), CATALOGUE, "events.csv has no row that can be used"),
        (log(f"u,a,view,{T}"), "item_id\na\n", "items.csv has no column 'title'"),
        (log(f"u,a,view,{T}"), "", "items.csv is empty"),
    ],
)
def test_data_that_cannot_be_used_is_one_clear_error_and_nothing_is_written(
    tmp_path: Path, events: str, items: str, message: str
) -> None:
    with pytest.raises(DataError) as error:
        prepared(tmp_path, events, items)
    assert message in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "items.csv"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", CATALOGUE)
    with pytest.raises(DataError, match=r"nothing\.csv cannot be read: no such file"):
        prepare(tmp_path / "nothing.csv", items, tmp_path / "out")


def test_an_earlier_folder_is_replaced_but_what_trainings_wrote_stays(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    for name in (data.TEXT_VECTORS, data.RUNS):
        (tmp_path / "out" / name).mkdir()
        (tmp_path / "out" / name / "file").write_bytes(b"kept")
    prepared(tmp_path, log(f"w,b,view,{T}"))
    assert events_of(tmp_path / "out")["user_id"].to_list() == ["w"]
    for name in (data.TEXT_VECTORS, data.RUNS):
        assert (tmp_path / "out" / name / "file").read_bytes() == b"kept"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["events.csv", "items.csv", "out"]


def test_a_failed_run_leaves_the_earlier_folder_as_it_was(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(DataError):
        prepared(tmp_path, log("u,a,view,never"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="something else"):
        prepared(tmp_path, log(f"u,a,view,{T}"))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_what_people_put_beside_prepared_data_is_never_deleted(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    for name in ("bundles", "events.csv"):
        path = tmp_path / "out" / name
        path.mkdir() if name == "bundles" else path.write_text("mine")
        with pytest.raises(DataError, match=f"holds '{name}' beside prepared data"):
            prepared(tmp_path, log(f"w,b,view,{T}"))
        assert path.exists()
        path.rmdir() if name == "bundles" else path.unlink()
    (tmp_path / "out" / ".DS_Store").write_bytes(b"")
    prepared(tmp_path, log(f"w,b,view,{T}"))


def test_a_link_to_nothing_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="out is a link to nothing"):
        prepared(tmp_path, log(f"u,a,view,{T}"))


def test_a_next_session_split_of_positions_without_session_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs sessions"):
        prepared(tmp_path, log("u,a,view,0", "u,b,view,1"), split=Split.NEXT_SESSION)
    assert not (tmp_path / "out").exists()


def test_a_next_session_split_of_positions_follows_their_session_ids(tmp_path: Path) -> None:
    rows = ("u,a,view,0,x", "u,b,view,1,y", "u,c,view,2,x")
    text = log(*rows, header=f"{HEADER},session_id")
    _, events = prepared(tmp_path, text, split=Split.NEXT_SESSION)
    assert events["item_id"].to_list() == ["a", "c", "b"]
    assert events["time_us"].to_list() == [0, 1_000_000, 2_000_000]
    assert events["split"].to_list() == [0, 0, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(cold_items=1.0), "share of cold items"),
        (Options(action_weights={"gaze": 1}), "unknown action 'gaze'"),
        (Options(action_weights={"view": -1}), "at least 0"),
        (Options(action_weights={"view": float("nan")}), "at least 0"),
        (Options(action_weights={"dislike": 1}), "never a target"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_clear_error(
    tmp_path: Path, options: Options, said: str
) -> None:
    files = write(tmp_path / "e.csv", log(f"u,a,view,{T}")), write(tmp_path / "i.csv", CATALOGUE)
    with pytest.raises(DataError, match=said):
        prepare(*files, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()
