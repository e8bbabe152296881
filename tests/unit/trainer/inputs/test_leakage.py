"""The leakage check finds what is planted, names it, and lets an honest log pass."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.prepared import TEST, TRAIN, VALIDATION, Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.inputs import leakage
from groundswell.trainer.inputs.histories import WindowInputs, window_rows
from groundswell.trainer.inputs.leakage import LeakageError, check_inputs, check_leakage
from groundswell.trainer.inputs.training_log import TrainingLog, Windows
from tests.unit.trainer.logs import HEADER, write

USERS, ITEMS = 12, 9


def log(folder: Path, split: Split, cold: float = 0.0, seed: int = 0) -> Prepared:
    """A random log with overlapping sessions, some of them without an id."""
    rng = random.Random(seed)
    rows = []
    for user in range(USERS):
        time = 1_700_000_000
        for _ in range(rng.randint(1, 25)):
            time += rng.choice([0, 60, 60, 9000])
            session = rng.choice(["", f"s{time // 20_000}", f"s{time // 30_000}-b"])
            action = rng.choice(["view", "view", "like", "dislike"])
            rows.append(f"u{user},i{rng.randrange(ITEMS)},{action},{time},{session}")
    rng.shuffle(rows)
    items = "".join(f"i{n},Title {n}\n" for n in range(ITEMS))
    prepare(
        write(folder / "events.csv", "\n".join([f"{HEADER},session_id", *rows])),
        write(folder / "items.csv", f"item_id,title\n{items}"),
        folder / "out",
        split=split,
        options=Options(cold_items=cold, seed=5),
    )
    return load_prepared(folder / "out")


@pytest.fixture(scope="module")
def by_event(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return log(tmp_path_factory.mktemp("by_event"), Split.LEAVE_ONE_OUT)


@pytest.fixture(scope="module")
def by_session(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return log(tmp_path_factory.mktemp("by_session"), Split.NEXT_SESSION)


def trained_with(prepared: Prepared, events: np.ndarray) -> Prepared:
    """The log with some of its events moved to training."""
    return replace(
        prepared,
        split_of=np.where(events, TRAIN, prepared.split_of).astype(np.int8),
        target=np.where(events, 0, prepared.target).astype(np.int8),
    )


@settings(max_examples=16, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from(list(Split)), st.sampled_from([0.0, 0.2]))
def test_what_prepare_writes_passes(tmp_path: Path, seed: int, split: Split, cold: float) -> None:
    check_leakage(log(tmp_path, split, cold, seed))


def changed(prepared: Prepared, name: str, event: int, value: object) -> Prepared:
    """The same log with one field of one event changed."""
    column = getattr(prepared, name).copy()
    column[event] = value
    return replace(prepared, **{name: column})


def last_of(prepared: Prepared, part: int) -> int:
    return int(np.flatnonzero(prepared.target == part)[-1])


def train_at_the_test_event(prepared: Prepared) -> Prepared:
    return changed(prepared, "split_of", last_of(prepared, TEST), TRAIN)


def train_after_the_validation_event(prepared: Prepared) -> Prepared:
    event = last_of(prepared, TEST)
    return changed(changed(prepared, "split_of", event, TRAIN), "target", event, 0)


def validate_after_a_test_event(prepared: Prepared) -> Prepared:
    return changed(prepared, "split_of", last_of(prepared, VALIDATION) - 1, TEST)


def predict_a_training_event(prepared: Prepared) -> Prepared:
    return changed(prepared, "target", int(prepared.offsets[prepared.users[-1]]), TEST)


def predict_for_validation_in_the_test_set(prepared: Prepared) -> Prepared:
    return changed(prepared, "target", last_of(prepared, TEST), VALIDATION)


def predict_what_weighs_nothing(prepared: Prepared) -> Prepared:
    return changed(prepared, "weights", last_of(prepared, TEST), 0)


def an_event_behind_a_later_one(prepared: Prepared) -> Prepared:
    event = int(np.flatnonzero(~prepared.starts)[0])
    return changed(prepared, "times_us", event, prepared.times_us[event - 1] - 1)


def a_session_behind_a_later_one(prepared: Prepared) -> Prepared:
    later = prepared.starts & (np.arange(len(prepared.items)) != prepared.offsets[prepared.users])
    event = int(np.flatnonzero(later)[0])
    return changed(prepared, "times_us", event, prepared.times_us[0] - 10**12)


def a_session_in_two_pieces(prepared: Prepared) -> Prepared:
    event = int(prepared.offsets[1]) - 1
    return changed(prepared, "sessions", event, prepared.sessions[event] + 1)


def a_cold_item_in_training(prepared: Prepared) -> Prepared:
    event = int(np.flatnonzero(prepared.split_of == TRAIN)[0])
    return changed(prepared, "cold", prepared.items[event], True)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (train_at_the_test_event, "train after held-out ones of their user"),
        (train_after_the_validation_event, "train after held-out ones of their user"),
        (validate_after_a_test_event, "validate after test events of their user"),
        (predict_a_training_event, "both held-out targets and training events"),
        (predict_for_validation_in_the_test_set, "of a set that they do not lie in"),
        (predict_what_weighs_nothing, "targets though they weigh nothing"),
        (an_event_behind_a_later_one, "behind a later event of their session"),
        (a_session_behind_a_later_one, "start a session behind one that starts later"),
        (a_session_in_two_pieces, "a session that is not whole"),
        (a_cold_item_in_training, "cold items are not in the test set"),
    ],
)
def test_a_planted_leak_is_found_and_named(
    by_event: Prepared, plant: Callable[[Prepared], Prepared], said: str
) -> None:
    check_leakage(by_event)
    with pytest.raises(LeakageError, match=said):
        check_leakage(plant(by_event))


def test_a_message_names_the_place_of_the_event_and_no_id(by_event: Prepared) -> None:
    event = last_of(by_event, TEST)
    user = int(by_event.users[event])
    with pytest.raises(LeakageError) as error:
        check_leakage(train_at_the_test_event(by_event))
    assert f"event {event - by_event.offsets[user]} of user {user};" in str(error.value)


def test_a_session_that_lies_in_two_sets_is_found(by_session: Prepared) -> None:
    check_leakage(by_session)
    held_out = (by_session.split_of == TEST) & ~by_session.starts
    last = (np.diff(by_session.sessions, append=-1) != 0) & held_out
    first = int(by_session.offsets[by_session.users[np.flatnonzero(last)[0]]])
    session = by_session.sessions == by_session.sessions[np.flatnonzero(last)[0]]
    assert first < int(np.flatnonzero(session)[0])
    # Without the validation session before it, only the session itself tells.
    earlier = by_session.split_of == VALIDATION
    planted = trained_with(by_session, earlier | (session & by_session.starts))
    with pytest.raises(LeakageError, match="another set than the rest of their session"):
        check_leakage(planted)


class ProfileOfToday(Prepared):
    """A log whose profiles know the session that they are to predict."""

    def profile_until(self, events: np.ndarray) -> np.ndarray:
        return events


def test_a_profile_that_knows_the_session_of_its_target_is_found(by_session: Prepared) -> None:
    fields = {name: getattr(by_session, name) for name in Prepared.__dataclass_fields__}
    with pytest.raises(LeakageError, match="by a profile that knows their session"):
        check_leakage(ProfileOfToday(**fields))


def test_training_later_than_a_target_of_another_user_is_found(tmp_path: Path) -> None:
    prepared = log(tmp_path, Split.TEMPORAL)
    users = prepared.users
    held = np.isin(users, users[prepared.target != 0])
    event = int(np.flatnonzero((prepared.split_of != TRAIN) & (users != users[held][0]))[0])
    alone = users == users[event]
    with pytest.raises(LeakageError, match="at or after the time of a held-out target"):
        check_leakage(trained_with(prepared, alone))


def test_cold_items_that_are_left_in_training_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = log(tmp_path, Split.LEAVE_ONE_OUT, cold=0.3)
    check_leakage(prepared)
    monkeypatch.setattr(Prepared, "for_training", lambda self: self)
    with pytest.raises(LeakageError, match="cold items are left in training"):
        check_leakage(prepared)


class Careless(TrainingLog):
    """Training windows that reach one event too far."""

    def windows(self, length: int, rng: np.random.Generator) -> Windows:
        right = super().windows(length, rng)
        last = self.prepared.offsets[self.prepared.users[right.first] + 1] - 1
        return right._replace(lengths=np.minimum(right.lengths + 2, last - right.first))


def test_a_training_window_over_a_held_out_event_is_found(
    by_event: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leakage, "TrainingLog", Careless)
    with pytest.raises(LeakageError, match="reads or predicts a held-out event"):
        check_leakage(by_event)


def test_a_window_that_shows_its_own_target_is_found(by_event: Prepared) -> None:
    def with_target(prepared: Prepared, events: np.ndarray) -> WindowInputs:
        return window_rows(prepared, prepared.offsets[prepared.users[events]], one + 1)

    event = np.array([last_of(by_event, TEST)])
    one = event - by_event.offsets[by_event.users[event]]
    with pytest.raises(LeakageError, match="the windows of an event change with that event"):
        check_inputs(by_event, event, event, with_target, "windows")


def test_inputs_that_know_the_time_of_what_comes_later_are_found(by_event: Prepared) -> None:
    def until_the_next(prepared: Prepared, events: np.ndarray) -> list[np.ndarray]:
        return [prepared.times_us[events + 1] - prepared.times_us[events]]

    event = np.array([last_of(by_event, VALIDATION)])
    with pytest.raises(LeakageError, match="the gaps of an event change"):
        check_inputs(by_event, event, event, until_the_next, "gaps")
