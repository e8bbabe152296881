"""Sessions follow ids and gaps, are whole, and come in the order in which they start."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from groundswell.features.window import session_starts
from groundswell.trainer.dataset.sessions import DEFAULT_GAP, by_session

MINUTE_US = 60_000_000


def grouped(
    rows: Sequence[tuple[int, float, str]], gap: timedelta | None = DEFAULT_GAP
) -> list[tuple[int, int]]:
    """(row, session) of rows (user, minute, session id) in the order that `by_session` gives."""
    log = pl.DataFrame(
        {
            "user": [user for user, _, _ in rows],
            "time_us": [int(minute * MINUTE_US) for _, minute, _ in rows],
            "session_id": [name for _, _, name in rows],
            "row": range(len(rows)),
        }
    ).sort("user", "time_us", "row")
    return by_session(log, gap).select("row", "session").rows()


def test_a_gap_of_more_than_thirty_minutes_parts_sessions() -> None:
    rows = [(0, 0, ""), (0, 30, ""), (0, 60.1, ""), (1, 60.1, "")]
    assert grouped(rows) == [(0, 0), (1, 0), (2, 1), (3, 2)]


def test_another_gap_may_be_given() -> None:
    assert grouped([(0, 0, ""), (0, 20, "")], timedelta(minutes=10)) == [(0, 0), (1, 1)]


def test_a_session_id_overrides_time_and_is_one_users_own() -> None:
    rows = [(0, 0, "x"), (0, 500, "x"), (0, 501, "y"), (1, 501, "y")]
    assert grouped(rows) == [(0, 0), (1, 0), (2, 1), (3, 2)]


def test_overlapping_sessions_become_whole_in_the_order_of_their_starts() -> None:
    rows = [(0, 5, "y"), (0, 0, "x"), (0, 9, "x"), (0, 7, "y"), (0, 6, "z")]
    assert grouped(rows) == [(1, 0), (2, 0), (0, 1), (3, 1), (4, 2)]


def test_sessions_that_start_together_come_in_the_order_of_their_first_rows() -> None:
    rows = [(0, 0, "b"), (0, 0, "a"), (0, 0, "b"), (0, 0, "a")]
    assert grouped(rows) == [(0, 0), (2, 0), (1, 1), (3, 1)]


def test_an_event_without_an_id_belongs_to_the_near_session_before_it_or_after_it() -> None:
    rows = [(0, 0, ""), (0, 1, "x"), (0, 2, ""), (0, 3, "y"), (0, 90, ""), (0, 200, "y")]
    assert grouped(rows) == [(0, 0), (1, 0), (2, 0), (3, 1), (5, 1), (4, 2)]


def test_without_times_ids_alone_part_sessions() -> None:
    rows = [(0, 0, "x"), (0, 100, ""), (0, 200, "y"), (1, 0, ""), (1, 100, "")]
    assert grouped(rows, None) == [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2)]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=12), st.booleans()
)
def test_the_services_see_the_same_sessions_where_they_do_not_overlap(
    steps: list[tuple[int, bool]], with_ids: bool
) -> None:
    minutes = np.cumsum([step for step, _ in steps])
    numbers = np.cumsum([new for _, new in steps])
    ids = [f"s{number}" if with_ids else "" for number in numbers]
    found = grouped([(0, int(m), name) for m, name in zip(minutes, ids, strict=True)])
    starts = session_starts(minutes.astype(np.int64) * MINUTE_US, ids)
    assert found == list(enumerate((np.cumsum(starts) - 1).tolist()))
