"""suite.recommend, .batch: the three real processes against a bare gather of fixed answers."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from groundswell.client import Deadlines, item
from groundswell.client.requests import MAX_REQUESTS, recommend_batches
from groundswell.common.v1.event_pb2 import Event
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.serving.channels import open_channel
from tests.bench.harness import OURS, THEIRS, Line, Side, compare, compare_throughput
from tests.bench.ranker import canned_ranker
from tests.bench.world import world
from tests.support.suite import Suite

if TYPE_CHECKING:
    from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceAsyncStub

_CALLS = 1_000
_ROUNDS = 4
USERS = [f"user-{number}" for number in range(_CALLS + 200)]
"""One for each measured call, and for each one before it."""
_NUM_EVENTS = 20
_PAGE_SIZE = 10
_MAX_ITEMS = 1_000


def measure(folder: Path) -> list[Line]:
    """Measure the first call of each of 1,000 users, the next ones, and batches, over SQLite."""
    with canned_ranker(folder) as (_, gather), served_suite(folder / "suite") as suite:
        return asyncio.run(_measure(suite.targets.ranker, gather))


async def _measure(suite: str, gather: str) -> list[Line]:
    async with open_channel(suite) as suite_channel, open_channel(gather) as gather_channel:
        whole, bare = RankerServiceStub(suite_channel), RankerServiceStub(gather_channel)
        users = itertools.cycle(USERS)

        async def ask() -> None:
            answer = await whole.Recommend(_request(next(users)))
            if answer.degradations or len(answer.recommendations) != _PAGE_SIZE:
                raise RuntimeError(f"the suite of the bench falls short: {answer.degradations}")

        against = "bare gather"
        sides = {OURS: Side(ask), THEIRS: Side(lambda: bare.Recommend(_request(USERS[0])))}
        first, *first_lines = await compare("suite.recommend.first", against, sides, _CALLS)
        warm, *warm_lines = await compare("suite.recommend", against, sides, _CALLS)
        throughput = await compare_throughput("suite.recommend", against, sides)
        return [
            warm.at_most(1.6),
            *warm_lines,
            throughput.at_least(0.6),
            first.at_most(3.0),
            *first_lines,
            (await _batches(whole)).at_least(2_000.0),
        ]


async def _batches(whole: "RankerServiceAsyncStub") -> Line:
    """Recommend to many users at once, by a stream of batches."""
    requests = [_request(user) for user in USERS[:_CALLS]]
    batches = list(recommend_batches(requests * _ROUNDS, MAX_REQUESTS))
    num_answered, began = 0, time.perf_counter()
    async for answer in whole.StreamRecommend(iter(batches)):
        num_answered += sum(not one.degradations for one in answer.responses)
    took_s = time.perf_counter() - began
    if num_answered != len(requests) * _ROUNDS:
        raise RuntimeError(f"{num_answered} of {len(requests) * _ROUNDS} answers are whole")
    return Line("suite.batch", num_answered / took_s, "users/s of StreamRecommend")


def _request(user_id: str) -> RecommendRequest:
    return RecommendRequest(user_id=user_id, page_size=_PAGE_SIZE)


@contextmanager
def served_suite(folder: Path) -> Iterator[Suite]:
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
    for user_id, history in zip(USERS, itertools.cycle(histories.values()), strict=False):
        for event in history[-_NUM_EVENTS:]:
            copy = Event()
            copy.CopyFrom(event)
            copy.user_id = user_id
            yield copy
