"""The cache of encoded sessions is bounded by the bytes that they take."""

import asyncio
from typing import Any

import numpy as np
import pytest

from groundswell.session_service.encoded_sessions import EncodedSessions
from groundswell.session_service.encoder import EncodedSession
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.records import NO_SESSION, WindowEvent, columns
from groundswell.session_service.windows.window import Listing, Window
from tests.support.memory import allocations


class Encoder:
    """Gives sessions of a size, at once."""

    def __init__(self) -> None:
        self.items = ItemTable(64)

    async def encode(self, records: bytes) -> EncodedSession:
        items = np.zeros(len(columns(records).item_nos), np.int64)
        return EncodedSession("bundle", np.zeros(64, np.float32), 1, 1, items, items.copy())


def window(num_events: int) -> Window:
    events = [WindowEvent(10**15 + n, 10**6 + n, n, 2, NO_SESSION) for n in range(num_events)]
    listing = Listing(events, 10**6 + num_events)
    return Window(51).relisted(listing, capacity=51, known=0, now_us=0)


@pytest.mark.parametrize(("num_events", "num_users"), [(0, 3_000), (51, 1_000)])
async def test_sessions_take_no_more_memory_than_their_bound(
    num_events: int, num_users: int
) -> None:
    bound = 2_000_000
    encoder: Any = Encoder()
    with allocations() as held:
        sessions = EncodedSessions(encoder, max_users=100_000, max_bytes=bound)
        for user in range(num_users):
            await sessions.of(b"%032d" % user, window(num_events))
        assert bound // 3 <= held() <= 1.2 * bound


async def test_a_session_that_is_being_encoded_is_not_stored_after_an_erasure() -> None:
    encoder: Any = Encoder()
    sessions = EncodedSessions(encoder, max_users=9, max_bytes=1_000_000)
    for is_erased in (False, True):
        reading = asyncio.create_task(sessions.of(b"ann", window(1 + is_erased)))
        await asyncio.sleep(0)
        if is_erased:
            sessions.drop({b"ann"})
        await reading
        assert (sessions.held(b"ann", window(1 + is_erased)) is None) is is_erased
