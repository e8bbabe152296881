"""The cache of encoded views is bounded by the bytes of its views."""

from typing import Any

import pytest

from groundswell.session_service.answers import StoredViews
from groundswell.session_service.encoder import SessionView
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows import Listing, Window, WindowEvent
from tests.support.memory import allocations


class Encoder:
    """Gives views of a size, at once."""

    def __init__(self) -> None:
        self.items = ItemTable(64)

    async def encode(self, events: Any) -> SessionView:
        packed = bytes(len(events) * 8)
        return SessionView("bundle", bytes(4 * 64), len(events), 1, 1, packed, packed[::2])


def window(user: int, num_events: int) -> Window:
    events = [
        WindowEvent(
            10**15 + n, 10**6 + n, f"{user}-{n}" + "x" * 60, 10**6 + n, n, 2, f"s{user}-{n}"
        )
        for n in range(num_events)
    ]
    listing = Listing(events, 10**6 + num_events)
    return Window(51).relisted(listing, capacity=51, known=0, now=0.0)


@pytest.mark.parametrize(("num_events", "num_users"), [(0, 3_000), (51, 250)])
async def test_views_take_no_more_memory_than_their_bound(num_events: int, num_users: int) -> None:
    bound = 2_000_000
    encoder: Any = Encoder()
    with allocations() as held:
        views = StoredViews(encoder, max_views=100_000, max_bytes=bound)
        for user in range(num_users):
            await views.view(b"%032d" % user, window(user, num_events))
        assert bound // 3 <= held() <= 1.2 * bound
