"""Draws calls of several kinds, by their shares, over users and items."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from groundswell.cli.load.curve import Ask
from groundswell.client import AsyncGroundswellClient, event
from groundswell.common.v1.event_pb2 import EventStatus
from groundswell.ranker.v1.ranker_service_pb2 import Degradation

SERVICES = {
    "recommend": "ranker",
    "similar": "ranker",
    "interests": "ranker",
    "encode": "session",
    "record": "session",
}
"""The kinds of calls, and which service each one calls."""
NEED_ITEMS = ("similar", "record")
RECORDING_USER = "groundswell-bench-{}"
"""Events are recorded for such users alone, never for those of a log."""
_NUM_RECORDING_USERS = 1_000


def drawn(
    client: AsyncGroundswellClient,
    mix: Mapping[str, float],
    users: Sequence[str],
    items: Sequence[str],
) -> Ask:
    """Make one call of a kind that is drawn by the shares of `mix`, always in the same order."""
    rng = random.Random(0)
    kinds, shares = list(mix), list(mix.values())

    async def recommend() -> Sequence[str]:
        answer = await client.recommend(rng.choice(users))
        return [Degradation.Name(one)[len("DEGRADATION_") :] for one in answer.degradations]

    async def similar() -> Sequence[str]:
        await client.similar_items(rng.choice(items))
        return ()

    async def interests() -> Sequence[str]:
        await client.interests(rng.choice(users))
        return ()

    async def encode() -> Sequence[str]:
        await client.encode_session(rng.choice(users))
        return ()

    async def record() -> Sequence[str]:
        user = RECORDING_USER.format(rng.randrange(_NUM_RECORDING_USERS))
        (result,) = await client.record_events([event(user, rng.choice(items), "view")])
        return [] if result.status != EventStatus.EVENT_STATUS_REJECTED else [result.reason]

    calls: dict[str, Callable[[], Awaitable[Sequence[str]]]] = {
        "recommend": recommend,
        "similar": similar,
        "interests": interests,
        "encode": encode,
        "record": record,
    }

    async def ask() -> Sequence[str]:
        return await calls[rng.choices(kinds, shares)[0]]()

    return ask
