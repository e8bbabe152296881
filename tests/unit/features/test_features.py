"""Features: what training and serving compute alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.common.v1 import event_pb2
from groundswell.features.actions import ACTIONS, NUM_ACTIONS, action_number
from groundswell.features.batches import token_batches, token_packs
from groundswell.features.chunks import chunk_ages, num_full_chunks
from groundswell.features.gate import (
    NUM_GATE_FEATURES,
    GateFeatures,
    clamp_gate_features,
    seconds_since,
    stacked_logarithms,
)
from groundswell.features.text import chunk_text, content_hash, item_text
from groundswell.features.window import session_length, session_starts, window_tensors

_MINUTE_US = 60_000_000


def test_action_numbers_are_those_of_the_contract() -> None:
    contract = dict(event_pb2.Action.items())
    assert {f"ACTION_{name.upper()}": action_number(name) for name in ACTIONS} == {
        name: number for name, number in contract.items() if number
    }
    assert max(contract.values()) + 1 == NUM_ACTIONS


def test_an_unknown_action_is_named() -> None:
    with pytest.raises(ValueError, match="'stare'"):
        action_number("stare")


def test_sessions_are_cut_by_a_gap_of_more_than_half_an_hour() -> None:
    times = np.array([0, 30, 61, 62], dtype=np.int64) * _MINUTE_US
    assert session_starts(times).tolist() == [True, False, True, False]


def test_a_session_id_overrides_time_but_only_between_events_that_both_carry_one() -> None:
    times = np.array([0, 1, 100, 101, 200], dtype=np.int64) * _MINUTE_US
    starts = session_starts(times, ["a", "b", "b", "", ""])
    assert starts.tolist() == [True, True, False, False, True]


def test_window_tensors_of_an_order_only_log_know_no_time() -> None:
    times = np.array([0, 90], dtype=np.int64) * _MINUTE_US
    starts = session_starts(times)
    timed = window_tensors(times, np.array([1, 2]), starts, use_time=True)
    untimed = window_tensors(times, np.array([1, 2]), starts, use_time=False)
    assert timed.gaps == pytest.approx([0.0, np.log1p(5400.0)])
    assert timed.starts.tolist() == [1.0, 1.0]
    assert untimed.gaps.tolist() == untimed.starts.tolist() == [0.0, 0.0]
    assert untimed.actions.tolist() == [1, 2]


def test_session_length_counts_back_to_the_last_start() -> None:
    assert session_length(np.array([True, False, True, False, False])) == 3
    assert session_length(np.array([], dtype=bool)) == 0
    # A window may begin in the middle of a session.
    assert session_length(np.array([False, False])) == 2


@given(st.integers(0, 1000), st.integers(1, 64))
def test_a_later_event_never_changes_an_earlier_full_chunk(events: int, length: int) -> None:
    chunks = num_full_chunks(events, length)
    assert chunks * length <= events < (chunks + 1) * length
    assert num_full_chunks(events + 1, length) >= chunks


def test_chunk_ages_are_relative_to_the_last_event() -> None:
    day = 86_400 * 1_000_000
    ages = chunk_ages(np.array([0, 2 * day]), 3 * day, use_time=True)
    assert ages == pytest.approx([np.log1p(3.0), np.log1p(1.0)])
    assert chunk_ages(np.array([0]), 3 * day, use_time=False).tolist() == [0.0]


def test_an_item_is_written_as_title_categories_and_description() -> None:
    assert item_text(" Heat \n (1995)", ["Action", "Crime"], "A thief.") == (
        "Heat (1995). Action, Crime. A thief."
    )
    assert item_text("", [], "") == ""


def test_a_chunk_cuts_long_titles_so_that_it_fits_the_encoder() -> None:
    text = chunk_text(["x" * 500] * 16)
    assert len(text) == 16 * 60 + 15 * 2


def test_the_hash_of_a_text_depends_on_the_encoder_and_takes_any_text() -> None:
    assert content_hash("a", "one") != content_hash("a", "two")
    assert content_hash("a", "one") == content_hash("a", "one")
    assert len(content_hash("\ud800 lone surrogate", "one")) == 32


def test_gate_features_are_logarithms_clamped_to_what_training_saw() -> None:
    seconds = seconds_since(5_000_000, 2_000_000, use_time=True)
    features = GateFeatures(seconds, 3, 7).logarithms()
    assert features == pytest.approx(np.log1p([3.0, 3.0, 7.0]))
    assert seconds_since(1, 2_000_000, use_time=True) == 0.0
    assert seconds_since(5_000_000, None, use_time=True) == 0.0
    assert seconds_since(5_000_000, 0, use_time=False) == 0.0
    assert GateFeatures().logarithms().tolist() == [0.0] * NUM_GATE_FEATURES
    many = stacked_logarithms([GateFeatures(), GateFeatures(seconds, 3, 7)])
    assert many.tolist() == [[0.0] * NUM_GATE_FEATURES, features.tolist()]
    clamped = clamp_gate_features(features, (2.0, 0.0, 0.0), (9.0, 1.0, 9.0))
    assert clamped == pytest.approx([2.0, 1.0, np.log1p(7.0)])


@given(st.lists(st.integers(1, 50), max_size=80), st.integers(1, 200))
def test_token_batches_hold_every_text_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    batches = token_batches(lengths, budget)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert longest * len(batch) <= budget or len(batch) == 1


@given(st.lists(st.integers(0, 50), max_size=80), st.integers(1, 200))
def test_token_packs_keep_the_order_and_could_not_be_fewer(lengths: list[int], budget: int) -> None:
    packs = token_packs(lengths, budget)
    assert [int(i) for pack in packs for i in pack] == list(range(len(lengths)))
    totals = [sum(lengths[i] for i in pack) for pack in packs]
    assert all(n <= budget or len(pack) == 1 for n, pack in zip(totals, packs, strict=True))
    for total, after in zip(totals, packs[1:], strict=False):
        assert total + lengths[after[0]] > budget
