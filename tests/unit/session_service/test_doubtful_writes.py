"""A write whose outcome is not known: whenever it commits, the next windows have it."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from groundswell.serving.errors import (
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from groundswell.session_service.sessions import Sessions
from groundswell.session_service.windows.memory import MemoryWindows
from tests.support.sessions import Clock, MemoryLog, event, ids, window_of


async def test_a_write_whose_caller_left_is_looked_up_in_the_log(
    sessions: Sessions, log: MemoryLog
) -> None:
    await window_of(sessions, "ann", 5)
    log.answers.clear()
    writing = asyncio.create_task(sessions.record([event("a")], None))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    log.answers.set()
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


async def test_a_write_whose_caller_left_before_its_window_had_it_is_looked_up(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await window_of(sessions, "ann", 5)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryWindows, "take", AsyncMock(side_effect=asyncio.CancelledError))
        with pytest.raises(asyncio.CancelledError):
            await sessions.record([event("a")], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_write_of_unknown_outcome_is_seen_whenever_it_commits(
    sessions: Sessions, log: MemoryLog, clock: Clock, is_held: bool
) -> None:
    if is_held:
        await window_of(sessions, "ann", 5)
    log.down = True
    with pytest.raises(Unavailable):
        await sessions.record([event("a")], None)
    log.down = False
    clock.now += 3.0
    assert ids(await window_of(sessions, "ann", 5)) == []
    # Its transaction ends only now, after the next listing.
    await log.append([event("a")], None)
    clock.now += 3.0
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


async def test_a_doubt_costs_listings_for_as_long_as_a_write_may_take(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    log.down = True
    with pytest.raises(Unavailable):
        await sessions.record([event("a")], None)
    log.down = False
    for seconds, num_listings in ((5.0, 1), (5.0, 2), (26.0, 3), (1.0, 3)):
        clock.now += seconds
        await window_of(sessions, "ann", 5)
        assert log.num_listings == num_listings


@pytest.mark.parametrize(
    ("refusal", "num_listings"), [(InvalidArgument, 1), (ResourceExhausted, 2)]
)
@pytest.mark.parametrize("write", ["append", "link"])
async def test_only_a_wrong_request_leaves_no_doubt(
    sessions: Sessions,
    log: MemoryLog,
    monkeypatch: pytest.MonkeyPatch,
    refusal: type[ServiceError],
    num_listings: int,
    write: str,
) -> None:
    """Another refusal may come after an answer that was lost, or after a part of a link."""
    await window_of(sessions, "ann", 5)
    monkeypatch.setattr(log, write, AsyncMock(side_effect=refusal("REASON", "refused")))
    with pytest.raises(refusal):
        if write == "append":
            await sessions.record([event("a")], None)
        else:
            await sessions.link("visit", "ann", None)
    await window_of(sessions, "ann", 5)
    assert log.num_listings == num_listings
