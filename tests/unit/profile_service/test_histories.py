"""Histories are cut again only from where a newer event may change them."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.features.text import chunk_text, content_hash
from groundswell.features.window import MAX_RECENT, SESSION_GAP_US, session_starts
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.recent import LAYOUT, unpack
from groundswell.profile_service.worker.histories import (
    Covered,
    CutHistory,
    Start,
    cut,
    start_of,
)

C = 3
SPEC = Spec("an encoder:fp32:1", C)

Event = tuple[int, int, str]


def _rows(events: list[Event]) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            user_no=1,
            item_no=sum(id_.encode()),
            action=1 + len(id_) % 9,
            session_id=id_[-1] if len(id_) % 2 else "",
            time_us=time,
            ordinal=ordinal,
            event_id=id_,
            title=f"T{id_}",
        )
        for time, ordinal, id_ in sorted(events)
    ]


def _whole(events: list[Event]) -> CutHistory:
    """What a worker finds that reads everything at once."""
    start = start_of([], Covered(0, None), (0, len(events)), C)
    (history,) = cut(_rows(events), {1: start}, SPEC)
    return history


def _stored(events: list[Event]) -> list[SimpleNamespace]:
    """The chunks that a worker stores of these events."""
    return [
        SimpleNamespace(
            chunk_no=c.number,
            last_time_us=c.last[0],
            last_ordinal=c.last[1],
            last_event_id=c.last[2],
        )
        for c in _whole(events).chunks
    ]


def _grown(old: list[Event], new: list[Event], *, at_hand: bool = True) -> tuple[Start, CutHistory]:
    """What a worker finds that covered the old events before the new ones came."""
    covered = Covered(len(old), _whole(old).recent if at_hand else None)
    newer = (min(new)[0], len(old) + len(new)) if new else None
    start = start_of(_stored(old), covered, newer, C)
    read = [event for event in old + new if event >= start.place]
    (history,) = cut(_rows(read), {1: start}, SPEC)
    return start, history


def test_a_history_is_cut_into_full_chunks_from_its_start() -> None:
    history = _whole([(n, 0, f"e{n}") for n in range(8)])
    assert [chunk.text for chunk in history.chunks] == ["Te0; Te1; Te2", "Te3; Te4; Te5"]
    first = history.chunks[0]
    assert first.content_hash == content_hash(chunk_text(["Te0", "Te1", "Te2"]), SPEC.fingerprint)
    assert first.last == (2, 0, "e2")
    assert (history.num_chunks, history.covered_sequence, history.last_event_us) == (2, 8, 7)


def test_chunks_that_end_before_the_earliest_new_event_stay() -> None:
    stored = _stored([(10 * n, 0, f"e{n}") for n in range(9)])
    covered = Covered(9, bytes(range(9 * LAYOUT.itemsize)))
    size = LAYOUT.itemsize
    all_stay = Start(3, (80, 0, "e8"), 10, covered.recent or b"", 3)
    assert start_of(stored, covered, (81, 10), C) == all_stay
    one_stays = Start(1, (20, 0, "e2"), 10, bytes(range(3 * size)), 1)
    assert start_of(stored, covered, (21, 10), C) == one_stays
    # One at the very time at which a chunk ends may belong before its last event.
    assert start_of(stored, covered, (20, 10), C).num_chunks == 0
    assert start_of(stored, covered, None, C).covered_sequence == 9


def test_a_user_with_nothing_after_the_cut_keeps_the_end_of_the_last_chunk() -> None:
    events = [(n, 0, f"e{n}") for n in range(3)]
    _, history = _grown(events, [])
    assert (history.num_chunks, history.chunks) == (1, [])
    assert (history.last_event_us, history.covered_sequence) == (2, 3)
    assert history.recent == _whole(events).recent


def test_the_newest_events_are_at_hand_with_what_the_head_reads_of_them() -> None:
    gap = SESSION_GAP_US
    times = [0, gap, 2 * gap + 1, 2 * gap + 2]
    history = _whole([(time, 0, f"e{n}") for n, time in enumerate(times)])
    events = unpack(history.recent)
    assert len(history.recent) == 4 * 18
    assert events["item_no"].tolist() == [sum(f"e{n}".encode()) for n in range(4)]
    assert events["time_us"].tolist() == times
    assert events["action"].tolist() == [3] * 4
    assert events["starts_session"].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, C, 10 * C])
def test_no_more_than_the_newest_are_at_hand_and_the_first_knows_what_came_before_it(
    extra: int,
) -> None:
    events = [(n, 0, f"e{n:03}") for n in range(MAX_RECENT + extra)]
    recent = unpack(_whole(events).recent)
    assert recent["time_us"].tolist() == [time for time, _, _ in events[-MAX_RECENT:]]
    # Only the history's very first event starts a session here.
    assert recent["starts_session"].sum() == (1 if extra <= 0 else 0)


times = st.tuples(st.integers(0, 5), st.integers(0, 2))


@given(old=st.lists(times, max_size=20), new=st.lists(times, max_size=8), at_hand=st.booleans())
def test_cutting_what_is_new_ends_where_cutting_everything_does(
    old: list[tuple[int, int]], new: list[tuple[int, int]], *, at_hand: bool
) -> None:
    hours = 40 * 60 * 1_000_000
    old_events = [(time * hours, ordinal, f"old{n}") for n, (time, ordinal) in enumerate(old)]
    new_events = [(time * hours, ordinal, f"new{n}") for n, (time, ordinal) in enumerate(new)]
    start, history = _grown(old_events, new_events, at_hand=at_hand)
    whole = _whole(old_events + new_events)
    assert history.chunks == whole.chunks[start.num_chunks :]
    assert (history.num_chunks, history.last_event_us) == (whole.num_chunks, whole.last_event_us)
    assert history.recent == whole.recent
    # What stays is what it was.
    kept = [(c.last_time_us, c.last_ordinal, c.last_event_id) for c in _stored(old_events)]
    assert kept[: start.num_chunks] == [c.last for c in whole.chunks[: start.num_chunks]]


@pytest.mark.parametrize("place", [0, 150, 299, 450, 599, 600])
@pytest.mark.parametrize("at_hand", [True, False])
def test_a_long_history_that_gets_an_event_anywhere_has_the_newest_at_hand(
    place: int, *, at_hand: bool
) -> None:
    old = [(2 * n, 0, f"e{n}") for n in range(600)]
    late = [(2 * place - 1, 0, "late")]
    start, history = _grown(old, late, at_hand=at_hand)
    assert history.recent == _whole(old + late).recent
    if place == 600:
        # What is at hand need not be read again; what is not is read from not too far back.
        assert start.num_chunks == (200 if at_hand else (600 - MAX_RECENT) // C)


def test_what_is_at_hand_says_what_the_models_are_trained_on() -> None:
    rng = np.random.default_rng(3)
    times_us = np.sort(rng.integers(0, 40 * SESSION_GAP_US, 300))
    events = [
        (int(time), 0, f"{n:03}{'x' * int(rng.integers(3))}") for n, time in enumerate(times_us)
    ]
    _, history = _grown(events[:200], events[200:])
    rows = _rows(events)
    starts = session_starts(times_us, [row.session_id for row in rows])
    assert unpack(history.recent)["starts_session"].tolist() == starts[-MAX_RECENT:].tolist()
    assert 0 < starts[-MAX_RECENT:].sum() < MAX_RECENT
