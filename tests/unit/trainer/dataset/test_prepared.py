"""What `prepare` wrote is loaded whole, or refused by name."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundswell.trainer.dataset import prepared as data
from groundswell.trainer.dataset.cold import cold_items
from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.errors import DataError
from tests.unit.trainer.logs import CATALOGUE, HEADER, log, prepared, write

T = 1_700_000_000


SESSIONS = log(
    f"u,a,view,{T},s1",
    f"u,b,view,{T + 60},s2",
    f"u,c,view,{T + 90},s1",
    f"u,a,view,{T + 9000},",
    f"u,b,dislike,{T + 9001},",
    f"v,a,view,{T},s1",
    header=f"{HEADER},session_id",
)


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


def test_actions_weigh_what_was_asked_for(tmp_path: Path) -> None:
    text = log(f"u,a,rate,{T}", f"u,a,cart,{T + 9}", f"u,a,view,{T + 10}")
    files = write(tmp_path / "e.csv", text), write(tmp_path / "i.csv", CATALOGUE)
    options = Options(action_weights={"view": 0.5})
    prepare(*files, tmp_path / "out", split=Split.NONE, options=options)
    loaded = data.load_prepared(tmp_path / "out")
    assert loaded.weights.tolist() == [1, 1, 0.5]


def test_a_folder_of_an_older_format_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path, log(f"u,a,view,{T}"))
    path = tmp_path / "out" / data.META
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": data.FORMAT - 1}))
    with pytest.raises(DataError, match="prepare it again"):
        data.load_prepared(tmp_path / "out")


@pytest.mark.parametrize("name", [data.EVENTS, data.ITEMS, data.USERS])
def test_a_table_of_something_else_is_named(tmp_path: Path, name: str) -> None:
    prepared(tmp_path, SESSIONS)
    folder = tmp_path / "out"
    pl.DataFrame({"item_id": ["a"], "user": ["b"], "cold": ["c"]}).write_parquet(folder / name)
    with pytest.raises(DataError, match="prepare it again"):
        data.load_prepared(folder)
