"""A window holds the same events as the log, in whatever order it learns of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.session_service.windows.records import WindowEvent, columns, pack, session_code
from groundswell.session_service.windows.window import Listing, Window, Written

AFTER = "a" * 32


def event(sequence: int, time_us: int = 0) -> WindowEvent:
    return WindowEvent(time_us or sequence, sequence, 7, 1, session_code("visit"))


def listing(events: list[WindowEvent], capacity: int) -> Listing:
    # The log orders events of one time by more than a window knows: here the later write is first.
    ordered = sorted(events, key=lambda e: (e.time_us, -e.sequence))
    return Listing(ordered[-capacity:], len(events))


def merged(window: Window, *events: WindowEvent, lineage: str = "", now_us: int = 0) -> Window:
    ordered = sorted(events, key=lambda e: (e.time_us, -e.sequence))
    return window.taken(Written(ordered, [], lineage, now_us))


def healed(window: Window, *events: WindowEvent, now_us: int = 0) -> Window:
    return window.taken(Written([], list(events), "", now_us))


def listed(events: list[WindowEvent], capacity: int = 3, now_us: int = 0) -> Window:
    return Window(capacity).relisted(
        listing(events, capacity), capacity=capacity, known=0, now_us=now_us
    )


def is_current(window: Window, capacity: int, *, since: int) -> bool:
    """Whether it would be served when the oldest listing that counts began at `since`."""
    return window.is_current(capacity, now_us=since + 10, ttl_us=10)


def sequences(window: Window) -> list[int]:
    return [e.sequence for e in window.events]


def test_a_write_that_follows_is_appended() -> None:
    window = merged(listed([event(1)]), event(2))
    assert sequences(window) == [1, 2]
    assert is_current(window, 3, since=0)
    assert window.last_sequence == 2


def test_events_of_one_write_stand_in_the_order_that_they_came_in() -> None:
    window = listed([], capacity=9).taken(Written([event(2, 10), event(1, 10)], [], "", 0))
    assert sequences(window) == [2, 1]
    assert is_current(window, 9, since=0)


def test_a_write_of_the_time_of_another_event_makes_the_window_ask_the_log() -> None:
    """The order of the two is that of their ordinals and ids, which the window does not hold."""
    window = merged(listed([event(1, 10)]), event(2, 10), now_us=5)
    assert not is_current(window, 3, since=5)
    truth = listing([event(1, 10), event(2, 10)], 3)
    window = window.relisted(truth, capacity=3, known=2, now_us=6)
    assert sequences(window) == [2, 1]
    assert is_current(window, 3, since=6)


@pytest.mark.parametrize("kind", ["doubt", "tie", "duplicate"])
def test_a_doubt_counts_where_the_listing_is_of_a_clock_ahead(kind: str) -> None:
    window = listed([event(1, 10)], now_us=100)
    doubted = {
        "doubt": window.doubted(41),
        "tie": merged(window, event(2, 10), now_us=40),
        "duplicate": healed(window, event(2), now_us=40),
    }[kind]
    assert window.is_current(3, now_us=41, ttl_us=600)
    assert not doubted.is_current(3, now_us=41, ttl_us=600)


def test_a_full_window_lets_go_of_its_oldest_event() -> None:
    window = merged(listed([event(1), event(2), event(3)]), event(4))
    assert sequences(window) == [2, 3, 4]
    assert is_current(window, 3, since=0)


def test_a_late_event_older_than_a_full_window_is_counted_and_left_out() -> None:
    full = listed([event(n, time_us=10 * n) for n in (1, 2, 3)])
    window = merged(full, event(4, time_us=5))
    assert sequences(window) == [1, 2, 3]
    assert window.last_sequence == 4
    assert is_current(window, 3, since=0)


def test_a_duplicate_that_the_window_has_changes_nothing() -> None:
    window = listed([event(1), event(2)])
    assert healed(window, event(2), now_us=1) is window


def test_a_duplicate_heals_a_window_that_missed_the_write() -> None:
    window = healed(listed([event(1)]), event(2))
    assert sequences(window) == [1, 2]
    # What is stored under the id may differ from what was sent again: the log is asked first.
    assert not is_current(window, 3, since=0)


def test_the_log_wins_over_the_content_of_a_duplicate() -> None:
    window = healed(listed([event(1)]), event(2)._replace(item_no=99))
    truth = listing([event(1), event(2)], 3)
    assert window.relisted(truth, capacity=3, known=2, now_us=1).events == [event(1), event(2)]


def test_a_gap_in_the_sequences_makes_the_window_ask_the_log() -> None:
    window = merged(listed([event(1)]), event(3))
    assert not is_current(window, 3, since=0)
    assert is_current(merged(window, event(2)), 3, since=0)


def test_a_listing_never_overwrites_a_write_that_is_newer() -> None:
    before = listing([event(1)], 3)
    window = merged(Window(3), event(2))
    window = window.relisted(before, capacity=3, known=0, now_us=0)
    assert sequences(window) == [1, 2]
    assert is_current(window, 3, since=0)


def test_a_late_write_beyond_a_full_window_survives_an_older_listing_as_counted() -> None:
    full = listed([event(n, time_us=10 * n) for n in (1, 2, 3)])
    window = merged(full, event(4, time_us=5))
    older = Listing(full.events, 3)
    assert is_current(window.relisted(older, capacity=3, known=3, now_us=1), 3, since=1)


def test_a_longer_window_asks_the_log_for_what_a_shorter_one_dropped() -> None:
    short = merged(Window(1), event(3, time_us=30), event(4, time_us=20))
    window = short.relisted(listing([event(1), event(2)], 3), capacity=3, known=0, now_us=1)
    assert not is_current(window, 3, since=1)


def test_a_log_that_went_back_takes_the_window_with_it() -> None:
    window = listed([event(1), event(2), event(3)])
    emptied = window.relisted(Listing([], 0), capacity=3, known=3, now_us=1)
    assert emptied.events == []
    assert emptied.last_sequence == 0
    assert is_current(emptied, 3, since=1)


def test_a_window_that_was_never_listed_is_not_current() -> None:
    window = merged(Window(3), event(1))
    assert not window.was_listed
    assert not is_current(window, 3, since=-1000000000)


def test_a_window_that_was_listed_too_long_ago_is_not_current() -> None:
    assert not is_current(listed([event(1)], now_us=5), 3, since=6)


def test_a_doubted_window_asks_the_log() -> None:
    assert not is_current(listed([event(1)]).doubted(until_us=1), 3, since=0)


def test_a_listing_that_began_before_the_doubt_ended_does_not_end_it() -> None:
    window = listed([event(1)]).doubted(until_us=5)
    early = window.relisted(listing([event(1)], 3), capacity=3, known=1, now_us=4)
    assert not is_current(early, 3, since=0)
    late = early.relisted(listing([event(1), event(2)], 3), capacity=3, known=1, now_us=5)
    assert is_current(late, 3, since=0)


def test_a_restored_log_does_not_end_a_doubt() -> None:
    window = listed([event(1)]).doubted(until_us=5)
    restored = window.relisted(Listing([], 0, AFTER), capacity=3, known=1, now_us=1)
    assert not is_current(restored, 3, since=0)


def test_a_window_too_short_for_a_longer_model_asks_the_log_unless_it_holds_everything() -> None:
    assert not is_current(listed([event(1), event(2), event(3)]), 4, since=0)
    assert is_current(listed([event(1), event(2)]), 4, since=0)


def test_a_listing_that_tells_nothing_new_keeps_the_very_events() -> None:
    window = listed([event(1), event(2)])
    again = window.relisted(listing([event(1), event(2)], 3), capacity=3, known=2, now_us=9)
    assert again.records == window.records


def test_a_listing_of_another_lineage_takes_the_place_of_everything() -> None:
    before = Window(3).relisted(
        Listing([event(1), event(2)], 2, "b" * 32), capacity=3, known=0, now_us=0
    )
    after = before.relisted(Listing([event(1)], 7, AFTER), capacity=3, known=2, now_us=1)
    assert (sequences(after), after.lineage, after.complete_to) == ([1], AFTER, 7)
    assert is_current(after, 3, since=1)


def test_a_write_of_another_lineage_ends_what_the_window_holds() -> None:
    other = merged(listed([event(1), event(2)]).doubted(7), event(1), lineage=AFTER)
    assert (sequences(other), other.was_listed, other.lineage) == ([1], False, AFTER)
    assert other.doubt_until_us == 7


histories = st.lists(st.integers(1, 5), min_size=0, max_size=12).map(
    lambda times: [event(n, time) for n, time in enumerate(times, start=1)]
)


@given(histories, st.integers(1, 6), st.data())
def test_any_order_of_writes_duplicates_and_listings_ends_at_what_the_log_holds(
    history: list[WindowEvent], capacity: int, data: st.DataObject
) -> None:
    deliveries = data.draw(st.permutations(history + history[: len(history) // 2]))
    num_listed = data.draw(st.integers(0, len(history)))
    at = data.draw(st.integers(0, len(deliveries)))
    window = Window(capacity)
    for index, write in enumerate(deliveries):
        if index == at:
            window = window.relisted(
                listing(history[:num_listed], capacity), capacity=capacity, known=0, now_us=0
            )
        window = merged(window, write)
    truth = listing(history, capacity)
    if is_current(window, capacity, since=0):
        assert window.events == truth.events
    window = window.relisted(truth, capacity=capacity, known=len(history), now_us=1)
    assert window.events == truth.events
    assert is_current(window, capacity, since=1)
    assert window.complete_to == len(history)


@given(histories, st.integers(1, 6), st.data())
def test_a_window_fed_in_the_order_of_writes_is_current_unless_times_are_equal(
    history: list[WindowEvent], capacity: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(history)))
    window = listed(history[:start], capacity)
    for index in range(start, len(history)):
        is_tied = history[index].time_us in {e.time_us for e in window.events}
        was_current = is_current(window, capacity, since=0)
        window = merged(window, history[index])
        assert is_current(window, capacity, since=0) == (was_current and not is_tied)
        if not is_tied and was_current:
            assert window.events == listing(history[: index + 1], capacity).events


def test_writes_of_one_call_count_together() -> None:
    for window in (
        merged(listed([event(1)]), event(2), event(3)),
        healed(listed([event(1)]), event(2), event(3)),
    ):
        assert sequences(window) == [1, 2, 3]
        assert window.complete_to == 3


def test_a_clock_that_was_set_back_does_not_keep_a_window_current() -> None:
    assert not listed([event(1)], now_us=1_000).is_current(3, now_us=10, ttl_us=100)


@pytest.mark.parametrize("lineage", ["", AFTER])
def test_windows_of_the_same_content_are_the_same_wherever_they_were_kept(lineage: str) -> None:
    window = merged(listed([event(1), event(2)]), event(4), lineage=lineage).doubted(until_us=9)
    assert Window.from_bytes(window.to_bytes()) == window


@given(st.integers(-2_208_988_800_000_000, 7_258_118_400_000_000), st.integers(1, 2**32 - 1))
def test_an_event_of_any_time_and_number_is_read_as_it_was_packed(time_us: int, no: int) -> None:
    events = [WindowEvent(time_us, no, no, 9, session_code("a")), event(1)]
    window = Window(2, pack(events))
    assert window.events == events
    read = columns(window.records)
    assert (read.times_us[0], read.item_nos[0], read.actions[0]) == (time_us, no, 9)
    assert read.sessions[0] == int.from_bytes(session_code("a"))
    assert len(window.to_bytes()) == 46 + 2 * 19
