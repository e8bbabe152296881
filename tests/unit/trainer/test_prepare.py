"""`prepare` turns two files into an ordered, split, reported folder, or into one clear error."""

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from groundswell.trainer import data
from groundswell.trainer.cold import cold_items
from groundswell.trainer.errors import DataError
from groundswell.trainer.prepare import Options, prepare
from groundswell.trainer.splits import Split
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
        (log(), CATALOGUE, "events.csv has a header and no rows"),
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


def test_an_earlier_folder_is_replaced_but_its_text_vectors_stay(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    cache = tmp_path / "out" / data.TEXT_VECTORS
    cache.mkdir()
    (cache / "vectors").write_bytes(b"cached")
    prepared(tmp_path, log(f"w,b,view,{T}"))
    assert events_of(tmp_path / "out")["user_id"].to_list() == ["w"]
    assert (cache / "vectors").read_bytes() == b"cached"
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
    prepare(events, write(tmp_path / "i.csv", CATALOGUE), tmp_path / "out", console=console)
    shown = console.export_text()
    assert "3 (1 with events)" in shown
    assert "left out: 1 event rows: action is unknown" in shown
    assert "'[red]gaze'" in shown


def test_a_loaded_log_is_what_was_prepared(tmp_path: Path) -> None:
    rows = (f"v,b,like,{T}", f"u,a,view,{T}", f"u,c,rate,{T + 1}", f"u,b,view,{T + 2}")
    items = "item_id,title,categories,description\na,Apple,Fruit|Red,Sweet\nb,Book,,\nc,Cup,Red,\n"
    prepared(tmp_path, log(*rows), items, split=Split.LEAVE_ONE_OUT)
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.user_ids == ["u", "v"]
    assert loaded.offsets.tolist() == [0, 3, 4]
    assert loaded.users.tolist() == [0, 0, 0, 1]
    assert loaded.items.tolist() == [0, 2, 1, 1]
    assert loaded.actions.tolist() == [1, 7, 1, 5]
    assert loaded.times_us.tolist() == [T * 10**6 + n * 10**6 for n in (0, 1, 2, 0)]
    assert loaded.split_of.tolist() == loaded.target.tolist() == [0, 1, 2, 0]
    assert loaded.split == "leave-one-out"
    assert loaded.categories == ("Red", "Fruit")
    assert loaded.item_category.tolist() == [1, -1, 0]
    assert loaded.texts == ["Apple. Fruit, Red. Sweet", "Book", "Cup. Red"]


@pytest.mark.parametrize("name", [data.EVENTS, data.ITEMS, data.USERS, data.META])
def test_a_folder_without_one_of_its_files_is_refused_by_name(tmp_path: Path, name: str) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    (tmp_path / "out" / name).unlink()
    with pytest.raises(DataError, match=name):
        data.load_prepared(tmp_path / "out")


def test_a_folder_whose_tables_do_not_fit_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}", f"v,b,view,{T}"))
    pl.DataFrame({"user_id": ["u"]}).write_parquet(tmp_path / "out" / data.USERS)
    with pytest.raises(DataError, match="do not fit each other"):
        data.load_prepared(tmp_path / "out")


def test_training_on_a_held_out_event_is_refused(tmp_path: Path) -> None:
    rows = [f"u,{'abc'[n % 3]},view,{T + n}" for n in range(5)]
    prepared(tmp_path, log(*rows), split=Split.LEAVE_ONE_OUT)
    loaded = data.load_prepared(tmp_path / "out")
    data.check_training_targets(loaded, np.array([1, 2]))
    with pytest.raises(ValueError, match="event 3 of the validation set"):
        data.check_training_targets(loaded, np.array([1, 3]))
    with pytest.raises(ValueError, match="event 4 of the test set"):
        data.check_training_targets(loaded, np.array([4]))


def test_a_history_that_trains_on_after_a_held_out_event_is_refused(tmp_path: Path) -> None:
    rows = [f"{user},{'abc'[n % 3]},view,{T + n}" for user in "uv" for n in range(5)]
    prepared(tmp_path, log(*rows), split=Split.LEAVE_ONE_OUT)
    path = tmp_path / "out" / data.EVENTS
    table = pl.read_parquet(path)
    planted = table["split"].to_list()
    planted[7], planted[8] = data.VALIDATION, data.TRAIN
    table.with_columns(split=pl.Series(planted, dtype=pl.Int8)).write_parquet(path)
    with pytest.raises(DataError, match="leak into training: user 1 "):
        data.load_prepared(tmp_path / "out")


SESSIONS = log(
    f"u,a,view,{T},s1",
    f"u,b,view,{T + 60},s2",
    f"u,c,view,{T + 90},s1",
    f"u,a,view,{T + 9000},",
    f"u,b,dislike,{T + 9001},",
    f"v,a,view,{T},s1",
    header=f"{HEADER},session_id",
)


def test_a_next_session_log_is_loaded_with_whole_sessions_and_their_targets(
    tmp_path: Path,
) -> None:
    prepared(tmp_path, SESSIONS, split=Split.NEXT_SESSION)
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.split == "next-session"
    assert loaded.items.tolist() == [0, 2, 1, 0, 1, 0]
    assert loaded.sessions.tolist() == [0, 0, 1, 2, 2, 3]
    assert loaded.starts.tolist() == [True, False, True, True, False, True]
    assert loaded.session_place.tolist() == [1, 2, 1, 1, 2, 1]
    assert loaded.split_of.tolist() == [0, 0, 1, 2, 2, 0]
    assert loaded.weights.tolist() == [1, 1, 1, 1, 0, 1]
    assert loaded.target.tolist() == [0, 0, 1, 2, 0, 0]
    assert loaded.profile_until(np.arange(6)).tolist() == [0, 0, 2, 3, 3, 5]


def test_under_the_other_splits_the_profile_knows_all_before_an_event(tmp_path: Path) -> None:
    prepared(tmp_path, SESSIONS, split=Split.LEAVE_ONE_OUT)
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.sessions.tolist() == [0, 0, 1, 2, 2, 3]
    assert loaded.profile_until(np.arange(6)).tolist() == list(range(6))


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


def test_training_sees_no_event_on_a_cold_item(tmp_path: Path) -> None:
    titles = "".join(f"i{n},Title {n}\n" for n in range(60))
    rows = [f"u{n % 7},i{n * n % 60},view,{T + n}" for n in range(300)]
    files = (
        write(tmp_path / "e.csv", log(*rows)),
        write(tmp_path / "i.csv", f"item_id,title\n{titles}"),
    )
    prepare(*files, tmp_path / "out", options=Options(cold_items=0.2, seed=3))
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.cold.tolist() == cold_items(loaded.item_ids, 0.2, 3).tolist()
    on_cold = loaded.cold[loaded.items]
    assert on_cold.any()
    has_past = np.arange(300) != loaded.offsets[loaded.users]
    assert ((loaded.target == data.TEST) == (on_cold & has_past)).all()
    seen = loaded.for_training()
    assert not seen.cold[seen.items].any()
    assert seen.items.tolist() == loaded.items[~on_cold].tolist()
    assert seen.users.tolist() == loaded.users[~on_cold].tolist()
    assert (seen.target == data.VALIDATION).sum() == (loaded.target == data.VALIDATION).sum() > 0
    assert seen.starts.sum() == len(np.unique(seen.sessions))
    assert seen.for_training() is seen


def test_values_are_normalised_by_action_and_actions_weigh_what_was_asked_for(
    tmp_path: Path,
) -> None:
    rows = [f"u,a,rate,{T + n},{value}" for n, value in enumerate([1, 2, 3, 4, 5])]
    rows += [f"u,a,cart,{T + 9},1e9", f"u,a,view,{T + 10},"]
    text = log(*rows, header=f"{HEADER},value")
    files = write(tmp_path / "e.csv", text), write(tmp_path / "i.csv", CATALOGUE)
    options = Options(action_weights={"view": 0.5})
    prepare(*files, tmp_path / "out", split=Split.NONE, options=options)
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.values.tolist() == pytest.approx([-1.349, -0.6745, 0, 0.6745, 1.349, 0, 0])
    assert loaded.weights.tolist() == [1] * 6 + [0.5]
    assert loaded.meta["value_scales"]["rate"]["centre"] == 3


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


def test_a_folder_of_an_older_format_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    path = tmp_path / "out" / data.META
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": data.FORMAT - 1}))
    with pytest.raises(DataError, match="prepare it again"):
        data.load_prepared(tmp_path / "out")
