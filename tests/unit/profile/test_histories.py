"""Histories are cut anew only from where a newer event may change them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.features.text import chunk_text, content_hash
from groundswell.profile_service.histories import Start, cut, start_of, tail_vector
from groundswell.profile_service.store.profiles import Spec

SPEC = Spec("an encoder:fp32:1", 3)

Event = tuple[int, int, str]


def _rows(events: list[Event]) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            user_no=1, item_no=time, time_us=time, ordinal=ordinal, event_id=id_, title=f"T{id_}"
        )
        for time, ordinal, id_ in sorted(events)
    ]


def _stored(events: list[Event]) -> list[SimpleNamespace]:
    """The chunks that a worker stores of these events."""
    start = start_of([], 0, None)
    (history,) = cut(_rows(events), {1: start}, SPEC)
    return [
        SimpleNamespace(last_time_us=c.last[0], last_ordinal=c.last[1], last_event_id=c.last[2])
        for c in history.chunks
    ]


def test_a_history_is_cut_into_chunks_from_its_start_and_the_rest_is_the_tail() -> None:
    events = [(n, 0, f"e{n}") for n in range(8)]
    (history,) = cut(_rows(events), {1: start_of([], 0, (0, 8))}, SPEC)
    assert [chunk.text for chunk in history.chunks] == ["Te0; Te1; Te2", "Te3; Te4; Te5"]
    first = history.chunks[0]
    assert first.content_hash == content_hash(chunk_text(["Te0", "Te1", "Te2"]), SPEC.fingerprint)
    assert first.last == (2, 0, "e2")
    assert (history.num_chunks, history.covered_sequence, history.last_event_us) == (2, 8, 7)
    assert history.tail_items == [6, 7]


def test_chunks_that_end_before_the_earliest_new_event_stay() -> None:
    stored = _stored([(10 * n, 0, f"e{n}") for n in range(9)])
    assert start_of(stored, 9, (81, 10)) == Start(3, (80, 0, "e8"), 10)
    assert start_of(stored, 9, (21, 10)) == Start(1, (20, 0, "e2"), 10)
    # One at the very time at which a chunk ends may belong before its last event.
    assert start_of(stored, 9, (20, 10)).num_chunks == 0
    assert start_of(stored, 9, None) == Start(3, (80, 0, "e8"), 9)


def test_a_user_with_nothing_after_the_cut_keeps_the_end_of_the_last_chunk() -> None:
    stored = _stored([(n, 0, f"e{n}") for n in range(3)])
    (history,) = cut([], {1: start_of(stored, 3, None)}, SPEC)
    assert (history.num_chunks, history.chunks, history.tail_items) == (1, [], [])
    assert (history.last_event_us, history.covered_sequence) == (2, 3)


times = st.tuples(st.integers(0, 5), st.integers(0, 2))


@given(st.lists(times, max_size=20), st.lists(times, min_size=1, max_size=8))
def test_cutting_what_is_new_ends_where_cutting_everything_does(
    old: list[tuple[int, int]], new: list[tuple[int, int]]
) -> None:
    old_events = [(time, ordinal, f"old{n}") for n, (time, ordinal) in enumerate(old)]
    new_events = [(time, ordinal, f"new{n}") for n, (time, ordinal) in enumerate(new)]
    everything = old_events + new_events
    newer = (min(time for time, _, _ in new_events), len(everything))
    start = start_of(_stored(old_events), len(old), newer)
    after = [event for event in everything if event > start.place]
    (history,) = cut(_rows(after), {1: start}, SPEC)
    (whole,) = cut(_rows(everything), {1: start_of([], 0, newer)}, SPEC)
    assert history.chunks == whole.chunks[start.num_chunks :]
    assert history.tail_items == whole.tail_items
    assert (history.num_chunks, history.last_event_us) == (whole.num_chunks, whole.last_event_us)
    # What stays is what it was.
    kept = [(c.last_time_us, c.last_ordinal, c.last_event_id) for c in _stored(old_events)]
    assert kept[: start.num_chunks] == [c.last for c in whole.chunks[: start.num_chunks]]


def test_a_tail_is_the_mean_of_the_texts_that_are_known_and_counts_them() -> None:
    texts = {1: np.array([1, 2], "<f4").tobytes(), 2: np.array([3, 4], "<f4").tobytes()}
    vector, length = tail_vector([1, 2, 2, 9], texts, 2)
    assert (vector.tolist(), length) == ([np.float32(7 / 3), np.float32(10 / 3)], 3)
    vector, length = tail_vector([9], texts, 2)
    assert (vector.tolist(), length) == ([0, 0], 0)
