"""What the models read before an event, as the servers make it."""

from dataclasses import replace

import numpy as np
import pytest

from groundswell.features.actions import action_number
from groundswell.features.text import chunk_text
from groundswell.features.window import session_starts, window_tensors
from groundswell.trainer.dataset.prepared import NEXT_SESSION, Prepared
from groundswell.trainer.inputs.histories import (
    Chunks,
    ChunkTable,
    Histories,
    cut_chunks,
    gate_inputs,
    window_rows,
    windows_before,
)
from tests.unit.trainer.memory import MINUTE_US, prepared_of

TEXT = 3


def histories_of(
    prepared: Prepared, size: int, max_chunks: int, recent: int = 4
) -> tuple[Histories, Chunks, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    chunks = cut_chunks(prepared, size)
    chunk_vectors = np.arange(len(chunks.texts) * TEXT, dtype=np.float32).reshape(-1, TEXT) + 100
    table = ChunkTable(prepared, chunks, chunk_vectors)
    return Histories(prepared, table, max_chunks, recent), chunks, chunk_vectors


def test_a_window_holds_the_newest_events_before_the_target_and_none_of_another_user() -> None:
    log = prepared_of([[7, 8], [1, 2, 3, 4, 5]])
    windows = windows_before(log, np.array([2, 4, 6, 0]), 3)
    assert windows.lengths.tolist() == [0, 2, 3, 0]
    assert windows.rows.tolist() == [[0, 0, 0], [1, 2, 0], [2, 3, 4], [0, 0, 0]]
    assert (windows.actions[0] == 0).all()
    assert windows.actions[2].tolist() == [action_number("view")] * 3


def test_a_window_is_what_the_features_of_the_servers_make_of_the_same_events() -> None:
    minutes = [[0, 1, 50, 50, 51, 200]]
    log = prepared_of([[1, 2, 3, 4, 5, 6]], minutes=minutes, actions=[["view", "like"] * 3])
    for length in (2, 4, 6):
        for event in range(1, 6):
            windows = windows_before(log, np.array([event]), length)
            first = max(0, event - length)
            times = log.times_us[:event]
            due = window_tensors(
                times[first:],
                log.actions[first:event],
                session_starts(times)[first:],
                use_time=True,
            )
            np.testing.assert_array_equal(windows.actions[0], due.actions)
            np.testing.assert_allclose(windows.gaps[0], due.gaps, rtol=1e-6)
            np.testing.assert_array_equal(windows.starts[0], due.starts)


def test_padding_is_zeros_in_every_input() -> None:
    log = prepared_of([[5, 6, 7]], minutes=[[0, 90, 180]])
    windows = window_rows(log, np.array([0, 0]), np.array([3, 1]))
    for values in windows[:4]:
        assert (values[1, 1:] == 0).all()


def test_an_order_only_log_has_no_feature_of_time() -> None:
    log = prepared_of([[1, 2, 3, 4]], minutes=[[0, 90, 91, 500]], order_only=True)
    windows = windows_before(log, np.array([3]), 3)
    assert (windows.gaps == 0).all()
    assert (windows.starts == 0).all()
    histories, _, _ = histories_of(log, 1, 8)
    assert (histories.before(np.array([3])).chunk_ages == 0).all()
    assert gate_inputs(log, np.array([3]), 50).logarithms()[0, 0] == 0


def test_chunks_are_cut_from_the_start_of_each_history() -> None:
    log = prepared_of([[1, 2, 3, 4, 5], [6], [7, 8]])
    chunks = cut_chunks(log, 2)
    assert chunks.offsets.tolist() == [0, 2, 2, 3]
    title = log.titles
    assert chunks.texts == [chunk_text([title[a], title[b]]) for a, b in ((1, 2), (3, 4), (7, 8))]
    assert chunks.last_times_us.tolist() == [MINUTE_US, 3 * MINUTE_US, MINUTE_US]


@pytest.mark.parametrize("known", range(8))
def test_a_history_has_its_newest_full_chunks_and_its_newest_events(known: int) -> None:
    log = prepared_of([[9, 9], [1, 2, 3, 4, 5, 6, 7, 8]])
    histories, _, chunk_vectors = histories_of(log, 2, 2)
    got = histories.before(np.array([2 + known]))
    full = known // 2
    shown = min(full, 2)
    assert got.num_chunks.tolist() == [shown]
    # The first user's one chunk comes before those of the second.
    due = chunk_vectors[1 + full - shown : 1 + full]
    np.testing.assert_array_equal(got.chunk_vectors[0, :shown], due)
    newest = list(range(1, known + 1))[-4:]
    assert got.recent.lengths.tolist() == [len(newest)]
    assert got.recent.rows[0, : len(newest)].tolist() == newest


def test_ages_count_from_the_last_known_event_and_not_from_the_target() -> None:
    day = 24 * 60
    log = prepared_of([[1, 2, 3, 4]], minutes=[[0, day, 3 * day, 100 * day]])
    histories, _, _ = histories_of(log, 1, 8)
    ages = histories.before(np.array([3])).chunk_ages
    np.testing.assert_allclose(ages, np.log1p([[3, 2, 0]]), rtol=1e-6)


def test_newest_events_are_named_for_the_head_with_the_vectors_of_their_items() -> None:
    log = prepared_of([[1, 2, 3, 4, 5, 6]], minutes=[[0, 1, 90, 91, 92, 93]])
    histories, _, _ = histories_of(log, 4, 8)
    got = histories.before(np.array([5, 0]))
    contexts = np.arange(log.num_items, dtype=np.float32)[:, None]
    named = got.named(contexts)
    assert named["recent_vectors"][0, :, 0].tolist() == [2, 3, 4, 5]
    due = window_tensors(log.times_us[1:5], log.actions[1:5], log.starts[1:5], use_time=True)
    for name, values in due._asdict().items():
        np.testing.assert_array_equal(named[f"recent_{name}"][0], values)
    assert named["recent_lengths"].tolist() == [4, 0]
    assert set(named) == {
        *("chunk_vectors", "chunk_ages", "num_chunks", "recent_vectors", "recent_actions"),
        *("recent_gaps", "recent_starts", "recent_lengths"),
    }


def test_under_next_session_a_profile_ends_where_the_events_session_starts() -> None:
    log = prepared_of([[1, 2, 3, 4, 5]], minutes=[[0, 1, 90, 91, 92]])
    histories, _, _ = histories_of(replace(log, split=NEXT_SESSION), 1, 8)
    for event in (2, 3, 4):
        got = histories.before(np.array([event]))
        assert got.recent.rows.tolist() == [[1, 2]]
        assert got.num_chunks.tolist() == [2]


def test_a_log_without_a_full_chunk_still_has_histories() -> None:
    log = prepared_of([[1, 2, 3]])
    histories, chunks, _ = histories_of(log, 16, 4)
    got = histories.before(np.array([0, 2]))
    assert chunks.texts == []
    assert got.chunk_vectors.shape == (2, 1, TEXT)
    assert (got.chunk_vectors == 0).all()
    assert got.num_chunks.tolist() == [0, 0]


def test_gate_features_are_recency_session_and_history_before_the_event() -> None:
    log = prepared_of([[0], [1, 2, 3, 4, 5]], minutes=[[0], [0, 1, 100, 101, 161]])
    got = np.expm1(gate_inputs(log, np.array([1, 2, 3, 5]), 50).logarithms())
    np.testing.assert_allclose(
        got, [[0, 0, 0], [60, 1, 1], [99 * 60, 2, 2], [60 * 60, 2, 4]], rtol=1e-5
    )


def test_the_session_is_counted_inside_of_the_window() -> None:
    log = prepared_of([[0, 1, 2, 3, 4, 5, 6]])
    known = gate_inputs(log, np.array([6]), 4)
    assert np.expm1(known.logarithms())[0, 1:].tolist() == pytest.approx([4, 6])


def test_histories_without_text_keep_their_events_and_have_no_chunks() -> None:
    log = prepared_of([[1, 2], [1, 2, 3, 4, 5, 6, 7]])
    events = np.array([1, 8])
    read, _, _ = histories_of(log, 2, 4)
    unread = cut_chunks(log, 2, read=False)
    none = ChunkTable(log, unread, np.zeros((0, TEXT), np.float32))
    due = read.before(events)
    assert due.num_chunks.tolist() == [0, 3]
    for histories in (read.without_text(), Histories(log, none, 4, 4)):
        found = histories.before(events)
        assert found.num_chunks.tolist() == [0, 0]
        assert found.chunk_vectors.shape == (2, 1, TEXT)
        for ours, theirs in zip(found.recent, due.recent, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert unread.texts == []
