"""suite.recommend: the three real processes against a ranker over upstreams of fixed answers."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundswell.client import Deadlines, item
from groundswell.common.v1.event_pb2 import Event
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.serving.channels import open_channel
from tests.bench.harness import OURS, THEIRS, Line, Side, compare
from tests.bench.ranker import canned_ranker
from tests.bench.world import world
from tests.support.suite import Suite

_CALLS = 1_000
_USERS = [f"user-{number}" for number in range(_CALLS + 200)]
"""One for each measured call, and for each one before it."""
_NUM_EVENTS = 20
_PAGE_SIZE = 10
_MAX_ITEMS = 1_000


def measure(folder: Path) -> list[Line]:
    """Measure the first call of each of 1,000 users, and the next one, over SQLite."""
    with canned_ranker(folder) as (ranker, gather), _suite(folder / "suite") as suite:
        return asyncio.run(_measure(suite.targets.ranker, ranker, gather))


async def _measure(suite: str, ranker: str, gather: str) -> list[Line]:
    async with (
        open_channel(suite) as suite_channel,
        open_channel(ranker) as ranker_channel,
        open_channel(gather) as gather_channel,
    ):
        whole = RankerServiceStub(suite_channel)
        canned, bare = RankerServiceStub(ranker_channel), RankerServiceStub(gather_channel)
        users = itertools.cycle(_USERS)

        async def ask() -> None:
            answer = await whole.Recommend(_request(next(users)))
            if answer.degradations or len(answer.recommendations) != _PAGE_SIZE:
                raise RuntimeError(f"the suite of the bench falls short: {answer.degradations}")

        own = Side(ask)
        over_canned = Side(lambda: canned.Recommend(_request(_USERS[0])))
        over_nothing = Side(lambda: bare.Recommend(_request(_USERS[0])))
        against = "ranker.recommend over fixed answers"
        pair = {OURS: own, THEIRS: over_canned}
        first, *first_lines = await compare("suite.recommend.first", against, pair, _CALLS)
        warm, *warm_lines = await compare("suite.recommend", against, pair, _CALLS)
        with_gather = {OURS: own, THEIRS: over_nothing}
        return [
            warm.at_most(1.25),
            *warm_lines,
            first.at_most(2.0),
            *first_lines,
            *await compare("suite.recommend.gather", "bare gather", with_gather, _CALLS),
        ]


def _request(user_id: str) -> RecommendRequest:
    return RecommendRequest(user_id=user_id, page_size=_PAGE_SIZE)


@contextmanager
def _suite(folder: Path) -> Iterator[Suite]:
    """Start the suite with the catalogue and users who have profiles."""
    folder.mkdir()
    # What is measured is the call, not how often a window is looked up again.
    settings = {"session": {"GROUNDSWELL_WINDOW_TTL_S": "3600"}}
    with Suite(folder, world().bundles, settings=settings, deadlines=Deadlines()) as suite:
        items = [item(i, title, categories=names) for i, title, names in world().items]
        for start in range(0, len(items), _MAX_ITEMS):
            suite.client.upsert_items(items[start : start + _MAX_ITEMS])
        for _ in suite.client.import_events(_events()):
            pass
        suite.refresh()
        yield suite


def _events() -> Iterator[Event]:
    """Give each user the newest events of one of the world."""
    histories: dict[str, list[Event]] = {}
    for event in world().events():
        histories.setdefault(event.user_id, []).append(event)
    for user_id, history in zip(_USERS, itertools.cycle(histories.values()), strict=False):
        for event in history[-_NUM_EVENTS:]:
            copy = Event()
            copy.CopyFrom(event)
            copy.user_id = user_id
            yield copy
