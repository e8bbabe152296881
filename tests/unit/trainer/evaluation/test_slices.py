"""Targets are grouped as the report says."""

from dataclasses import replace

import numpy as np

from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.evaluation.slices import drivers_of, later_positions, slices_of
from groundswell.trainer.ranking.targets import choose_targets, events_before
from tests.unit.trainer.memory import prepared_of

HOUR = 60
MINUTES = [[0, 1, 2, 3, 4, 3 * HOUR, 3 * HOUR + 1, 50 * HOUR], [0]]
LOG = prepared_of([[0, 1, 2, 0, 1, 3, 4, 5], [5]], minutes=MINUTES)
"""Sessions of five, two and one events; then another user."""
EVENTS = np.arange(9)


def names(parts: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"]) -> list[list[str]]:
    """For each target, the slices it is in."""
    return [[name for name, inside in parts.items() if inside[n]] for n in range(len(EVENTS))]


def test_positions_and_lengths_of_sessions_are_those_of_the_target() -> None:
    candidates = Candidates.of(LOG)
    found = slices_of(LOG, candidates, EVENTS, np.ones(6))
    one, two, later = ["1"], ["2-3"], ["4-10"]
    assert names(found["position"]) == [one, two, two, later, later, one, two, one, one]
    assert names(found["session"]) == [later] * 5 + [two, two, one, one]
    assert names(found["history"]) == [["0-9"]] * 9
    assert later_positions(LOG, EVENTS).tolist() == [
        False, True, True, True, True, False, True, False, False,
    ]  # fmt: skip


def test_a_third_of_the_events_is_the_head_and_items_without_any_are_cold() -> None:
    candidates = Candidates.of(LOG)
    counts = np.array([10.0, 6.0, 4.0, 3.0, 2.0, 0.0])
    found = slices_of(LOG, candidates, EVENTS, counts)
    head, middle, tail = ["head"], ["middle"], ["tail"]
    due = {0: head, 1: middle, 2: middle, 3: tail, 4: tail, 5: tail}
    assert names(found["popularity"]) == [due[item] for item in LOG.items.tolist()]
    assert names(found["cold"]) == [["cold" if item == 5 else "warm"] for item in LOG.items]


def test_a_log_without_times_has_no_sessions_to_report() -> None:
    bare = replace(LOG, order_only=True)
    found = slices_of(bare, Candidates.of(bare), EVENTS, np.ones(6))
    assert set(found) == {"history", "popularity", "cold"}
    assert set(drivers_of(bare, EVENTS)) == {"history"}


def test_the_time_since_the_last_event_is_that_of_the_target() -> None:
    short, hours, days = ["<30 min"], ["<1 day"], ["<7 days"]
    due = [["<1 min"], short, short, short, short, hours, short, days, ["<1 min"]]
    assert names(drivers_of(LOG, EVENTS)["since_last"]) == due


def test_what_a_user_had_before_is_no_target_unless_it_may_be() -> None:
    target = np.full(9, 2, np.int8)
    log = replace(LOG, target=target)
    fresh = choose_targets(log, 2, include_seen=False)
    assert fresh.events.tolist() == [0, 1, 2, 5, 6, 7, 8]
    assert fresh.num_left_out_seen == 2
    everything = choose_targets(log, 2, include_seen=True)
    assert everything.events.tolist() == list(range(9))
    assert everything.num_left_out_seen == 0


def test_the_events_before_are_the_users_own_oldest_first() -> None:
    events = np.array([3, 8, 6])
    before = events_before(LOG, events)
    assert before.rows.tolist() == [0] * 3 + [2] * 6
    assert before.columns.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
