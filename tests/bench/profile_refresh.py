"""profile.refresh: covering 16 new events of users with 160 against covering all 160 of them."""

import asyncio
import random
import time
from pathlib import Path

from groundswell.artifacts.store import load_bundle
from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.items import ItemContent
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker.loop import Worker
from tests.bench.harness import Line
from tests.bench.world import world
from tests.integration.profile_service.support import Memory, open_memory
from tests.support.suite import sqlite_url

_ROUNDS = 3
_USERS = 8
_NUM_EVENTS = 160
_NUM_NEW = 16
_CLICK = 2
_SEED = 5


def measure(folder: Path) -> list[Line]:
    """Measure both in turns, with new users in every round, over SQLite."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> list[Line]:
    bundle = load_bundle(world().bundles)
    memory = await open_memory(sqlite_url(folder), world().bundles)
    encoder = bundle.text_encoder(threads=1)
    depth = bundle.manifest.max_chunks
    worker = memory.worker(encoder, spec=Spec.of(bundle.manifest), max_chunks=depth)
    await memory.catalogue.upsert([ItemContent(i, t, "", list(n)) for i, t, n in world().items])
    await _cover(worker)
    whole_s, new_s = 0.0, 0.0
    for number in range(_ROUNDS):
        users = [f"user-{number}-{n}" for n in range(_USERS)]
        await _append(memory, users, 0, _NUM_EVENTS)
        whole_s += await _cover(worker)
        await _append(memory, users, _NUM_EVENTS, _NUM_EVENTS + _NUM_NEW)
        new_s += await _cover(worker)
    await worker.close()
    await memory.database.close()
    unit = f"× cheaper than from nothing, {_NUM_NEW} new events after {_NUM_EVENTS}"
    per_user_ms = 1e3 * new_s / (_ROUNDS * _USERS)
    return [
        Line("profile.refresh", whole_s / new_s, unit).at_least(8.0),
        Line("profile.refresh.ms", per_user_ms, "ms a user"),
    ]


async def _append(memory: Memory, users: list[str], first: int, last: int) -> None:
    rng = random.Random(f"{_SEED} {users[0]} {first}")
    items = [item_id for item_id, _, _ in world().items]
    for user in users:
        contents = (
            EventContent(rng.choice(items), _CLICK, None, n * 10**6, 0, "", "")
            for n in range(first, last)
        )
        new = [NewEvent(user, f"e{first + n}", content) for n, content in enumerate(contents)]
        await memory.log.append(new)


async def _cover(worker: Worker) -> float:
    """Work off what waits; return the seconds that it takes."""
    began_s = time.perf_counter()
    while await worker.step():
        pass
    return time.perf_counter() - began_s
