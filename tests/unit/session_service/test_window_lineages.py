"""After a restore of the database, windows and items of two lineages are never combined."""

import pytest

from groundswell.serving.errors import Unavailable
from groundswell.session_service.sessions import Sessions
from tests.support.sessions import MemoryLog, event, ids

BEFORE, AFTER = "b" * 32, "a" * 32


async def test_a_window_of_before_a_restore_is_read_anew_for_items_of_after_it(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.lineage = BEFORE
    await sessions.record([event("a"), event("b", day=1)], None)
    key = sessions.user_mark("ann")
    held = await sessions.window("ann", key, 5, BEFORE)
    assert ids(held.window) == ["a", "b"]
    log.restore(AFTER)
    # It is not old yet: with the items of before it is still read.
    assert (await sessions.window("ann", key, 5, BEFORE)).window == held.window
    assert ids((await sessions.window("ann", key, 5, AFTER)).window) == []
    await sessions.record([event("c")], None)
    assert ids((await sessions.window("ann", key, 5, AFTER)).window) == ["c"]


async def test_a_write_after_a_restore_ends_the_window_of_before(
    sessions: Sessions, log: MemoryLog
) -> None:
    """Sequences begin anew: the write would look like one that the window has."""
    log.lineage = BEFORE
    await sessions.record([event("a"), event("b", day=1)], None)
    key = sessions.user_mark("ann")
    await sessions.window("ann", key, 5, BEFORE)
    log.restore(AFTER)
    await sessions.record([event("c", item_id="9")], None)
    assert ids((await sessions.window("ann", key, 5, AFTER)).window) == ["c"]


async def test_a_window_is_not_read_with_the_items_of_another_lineage(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.lineage = AFTER
    await sessions.record([event("a")], None)
    key = sessions.user_mark("ann")
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            await sessions.window("ann", key, 5, BEFORE)
        assert (caught.value.reason, caught.value.retry_after_s) == ("LINEAGE_CHANGED", 0.5)
    assert ids((await sessions.window("ann", key, 5, AFTER)).window) == ["a"]


async def test_without_the_log_a_window_of_before_is_not_passed_off_as_stale(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.lineage = BEFORE
    await sessions.record([event("a")], None)
    key = sessions.user_mark("ann")
    await sessions.window("ann", key, 5, BEFORE)
    log.down = True
    with pytest.raises(Unavailable) as caught:
        await sessions.window("ann", key, 5, AFTER)
    assert caught.value.reason == "LINEAGE_CHANGED"
