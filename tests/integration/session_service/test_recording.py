"""Events recorded at the session service are durable, in order, and in the window at once."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from groundswell.client import event, item
from groundswell.common.v1.event_pb2 import (
    EVENT_STATUS_ACCEPTED,
    EVENT_STATUS_DUPLICATE,
    EVENT_STATUS_REJECTED,
)
from tests.integration.session_service.conftest import make_suite
from tests.integration.session_service.support import NOON, at, item_nos, vector
from tests.support.suite import Suite

WINDOW_LENGTH = 8


def stored_ids(suite: Suite, user_id: str) -> list[str]:
    """The event ids that the log holds, oldest first."""
    return [s.event.event_id for s in suite.client.list_events(user_id)][::-1]


def numbers(suite: Suite, rows: list[int]) -> list[int]:
    return [suite.client.get_item(f"item-{row}").item_no for row in rows]


def test_a_recorded_event_is_stored_and_in_the_window(suite: Suite) -> None:
    (result,) = suite.client.record_events([at("rita", 0, row=3)])
    assert result.status == EVENT_STATUS_ACCEPTED
    assert result.sequence == 1
    answer = suite.client.encode_session("rita")
    assert item_nos(answer) == [result.item_no] == numbers(suite, [3])
    assert list(np.frombuffer(answer.action_masks, "<u4")) == [1 << 2]
    assert answer.num_window_events == answer.num_session_events == 1
    assert answer.last_sequence == 1
    assert answer.last_event_time == at("rita", 0).time
    assert stored_ids(suite, "rita") == ["0-3"]


def test_each_write_after_a_read_is_in_the_next_read(suite: Suite) -> None:
    last = vector(suite.client.encode_session("rosa"))
    for minute in range(12):
        suite.client.record_events([at("rosa", minute, row=minute)])
        answer = suite.client.encode_session("rosa")
        assert answer.last_sequence == minute + 1
        assert not np.array_equal(vector(answer), last)
        last = vector(answer)
    assert item_nos(answer) == numbers(suite, list(range(4, 12)))


def test_a_log_sent_twice_and_in_another_order_gives_the_same_state(suite: Suite) -> None:
    log = [at("dora", minute, row=minute % 7, ordinal=minute % 2) for minute in range(20)]
    shuffled = random.Random(3).sample(log, len(log))
    first = suite.client.record_events(log[:10] + log[5:10])
    assert [r.status for r in first] == [EVENT_STATUS_ACCEPTED] * 10 + [EVENT_STATUS_DUPLICATE] * 5
    assert [r.sequence for r in first[10:]] == [6, 7, 8, 9, 10]
    suite.client.encode_session("dora")
    suite.client.record_events(shuffled)
    before = suite.client.encode_session("dora")
    again = suite.client.record_events(random.Random(4).sample(log, len(log)))
    assert {r.status for r in again} == {EVENT_STATUS_DUPLICATE}
    assert suite.client.encode_session("dora") == before
    assert item_nos(before) == numbers(suite, [minute % 7 for minute in range(12, 20)])
    assert stored_ids(suite, "dora") == [e.event_id for e in log]


def test_a_late_event_takes_its_place_in_the_window_or_before_it(suite: Suite) -> None:
    suite.client.encode_session("lena")
    suite.client.record_events([at("lena", 10 * n, row=n) for n in range(1, WINDOW_LENGTH + 1)])
    suite.client.record_events([at("lena", 45, row=20)])
    assert item_nos(suite.client.encode_session("lena")) == numbers(
        suite, [2, 3, 4, 20, 5, 6, 7, 8]
    )
    suite.client.record_events([at("lena", 1, row=21)])
    answer = suite.client.encode_session("lena")
    assert item_nos(answer) == numbers(suite, [2, 3, 4, 20, 5, 6, 7, 8])
    assert answer.last_sequence == 10


def test_events_of_equal_time_stand_by_ordinal_then_event_id(suite: Suite) -> None:
    suite.client.encode_session("tina")
    suite.client.record_events(
        [
            at("tina", 5, row=1, ordinal=2, event_id="a"),
            at("tina", 5, row=2, ordinal=1, event_id="c"),
            at("tina", 5, row=3, ordinal=1, event_id="b"),
        ]
    )
    assert item_nos(suite.client.encode_session("tina")) == numbers(suite, [3, 2, 1])
    assert stored_ids(suite, "tina") == ["b", "c", "a"]


def test_a_rebuilt_window_is_the_one_that_writes_had_made(suite: Suite) -> None:
    suite.client.encode_session("wilma")
    rng = random.Random(1)
    for _ in range(15):
        minute, row = rng.randrange(500), rng.randrange(30)
        suite.client.record_events([at("wilma", minute, row=row)])
    by_writes = suite.client.encode_session("wilma")
    suite.session.kill()
    suite.start("session")
    rebuilt = suite.client.encode_session("wilma")
    assert item_nos(rebuilt) == item_nos(by_writes)
    assert rebuilt.last_sequence == by_writes.last_sequence
    assert rebuilt.num_session_events == by_writes.num_session_events
    np.testing.assert_allclose(vector(rebuilt), vector(by_writes), rtol=1e-5, atol=1e-6)


def test_an_acknowledged_event_outlives_a_kill_of_the_session_service(suite: Suite) -> None:
    suite.client.record_events([at("kim", minute, row=minute) for minute in range(3)])
    (result,) = suite.client.record_events([at("kim", 3, row=9)])
    suite.session.kill()
    assert result.status == EVENT_STATUS_ACCEPTED
    suite.start("session")
    assert stored_ids(suite, "kim") == ["0-0", "1-1", "2-2", "3-9"]
    assert item_nos(suite.client.encode_session("kim")) == numbers(suite, [0, 1, 2, 9])


def test_a_retry_after_a_kill_is_a_duplicate_and_heals_the_window(suite: Suite) -> None:
    suite.client.encode_session("hedi")
    # Stored by a call whose answer nobody got: this session service never heard of it.
    suite.client.append_events([at("hedi", 0, row=4)])
    (result,) = suite.client.record_events([at("hedi", 0, row=4)])
    assert result.status == EVENT_STATUS_DUPLICATE
    assert item_nos(suite.client.encode_session("hedi")) == numbers(suite, [4])


def test_writers_of_one_user_at_once_lose_nothing_and_count_nothing_twice(
    suite: Suite,
) -> None:
    suite.client.encode_session("max")
    log = [at("max", minute, row=minute % 30) for minute in range(60)]

    def write(index: int) -> list[int]:
        results = suite.client.record_events(log[index : index + 2])
        suite.client.encode_session("max")
        return [r.sequence for r in results]

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(write, range(0, 59)))
    assert {n for sequences in written for n in sequences} == set(range(1, 61))
    answer = suite.client.encode_session("max")
    assert answer.last_sequence == 60
    assert item_nos(answer) == numbers(suite, [minute % 30 for minute in range(52, 60)])


def test_one_bad_event_does_not_fail_its_neighbours(suite: Suite) -> None:
    suite.client.encode_session("nora")
    results = suite.client.record_events(
        [
            at("nora", 0, row=1),
            at("nora", 1, row=99),
            at("", 2, row=1),
            at("nora", 3, row=2),
        ]
    )
    assert [r.status for r in results] == [
        EVENT_STATUS_ACCEPTED,
        EVENT_STATUS_REJECTED,
        EVENT_STATUS_REJECTED,
        EVENT_STATUS_ACCEPTED,
    ]
    assert [r.reason for r in results] == ["", "ITEM_NOT_FOUND", "USER_ID_INVALID", ""]
    assert stored_ids(suite, "nora") == ["0-1", "3-2"]
    assert item_nos(suite.client.encode_session("nora")) == numbers(suite, [1, 2])


def test_events_of_a_device_with_a_wrong_clock_do_not_freeze_the_window(suite: Suite) -> None:
    future = timedelta(days=365 * 74)
    wrong = [event("fred", "item-5", time=NOON + future, event_id=f"2100 {n}") for n in range(51)]
    results = suite.client.record_events(wrong)
    assert {(r.status, r.reason) for r in results} == {(EVENT_STATUS_REJECTED, "TIME_IN_FUTURE")}
    assert {r.reason for r in suite.client.append_events(wrong)} == {"TIME_IN_FUTURE"}
    (imported,) = suite.client.import_events(wrong)
    assert {r.result.reason for r in imported.rejected} == {"TIME_IN_FUTURE"}
    tomorrow = datetime.now(UTC) + timedelta(hours=23)
    right = [at("fred", 0, row=3), event("fred", "item-4", time=tomorrow, event_id="zone")]
    assert {r.status for r in suite.client.record_events(right)} == {EVENT_STATUS_ACCEPTED}
    assert item_nos(suite.client.encode_session("fred")) == numbers(suite, [3, 4])


def test_a_window_leaves_out_what_was_stored_of_the_far_future_before_there_was_a_bound(
    tmp_path: Path, bundles: Path
) -> None:
    no_bound = {"GROUNDSWELL_MAX_EVENT_FUTURE_S": str(86_400 * 365 * 80)}
    with make_suite(tmp_path, bundles) as suite:
        suite.profile.stop()
        suite.profile.start(no_bound)
        suite.profile.wait_serving(suite.targets.profile)
        suite.client.upsert_items([item(f"item-{n}", f"Item {n}") for n in range(6)])
        future = timedelta(days=365 * 74)
        wrong = [event("fred", "item-5", time=NOON + future, event_id=f"{n}") for n in range(51)]
        suite.client.append_events([*wrong, at("fred", 0, row=3)])
        suite.profile.stop()
        suite.start("profile")
        suite.session.wait_serving(suite.targets.session)
        answer = suite.client.encode_session("fred")
        assert item_nos(answer) == numbers(suite, [3])
        suite.client.record_events([at("fred", 1, row=4)])
        assert item_nos(suite.client.encode_session("fred")) == numbers(suite, [3, 4])
        assert len(stored_ids(suite, "fred")) == 53
