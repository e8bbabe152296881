"""profile.storage: what an item, an event, a profile and a shown list take in each database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from groundswell.profile_service.outcomes.lists import NewList, ShownLists
from groundswell.profile_service.staging import Stages
from groundswell.profile_service.store.items import ItemContent
from groundswell.profile_service.store.profiles import Spec
from groundswell.serving.attribution import Attribution, new_recommendation_id
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.vectors import pack_int64
from tests.bench.harness import Line
from tests.integration.profile_service.support import (
    Memory,
    an_event,
    open_memory,
    reading,
)
from tests.support.postgres import postgres
from tests.support.processes import SECRET
from tests.support.suite import sqlite_url

_NUM_ITEMS, _NUM_USERS, _NUM_EVENTS, _LISTS_OF_USER, _LIST_LENGTH = 10_000, 1_000, 100, 10, 20
_AT_ONCE, _CHUNK_LENGTH = 1_000, 16
_OF_SCHEMA = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
)
_OF_FILE = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"


class _Step(NamedTuple):
    """Rows that are written, and how many there are."""

    name: str
    write: Callable[[], Awaitable[object]]
    num_rows: int


class _Encoder:
    """Gives vectors of the real size without a model."""

    dimension = 384

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        return np.ones((len(texts), self.dimension), np.float32)


def measure(folder: Path) -> list[Line]:
    """Measure an empty database's growth by each kind of row, over SQLite and PostgreSQL."""
    folder.chmod(0o755)
    lines = asyncio.run(_measured("sqlite", sqlite_url(folder), folder))
    with postgres(folder) as server:
        return lines + asyncio.run(_measured("postgresql", server.new_database(), folder))


async def _measured(kind: str, url: str, folder: Path) -> list[Line]:
    memory = await open_memory(url, folder)
    lines = []
    for step in _steps(memory):
        before = await _num_bytes(memory, kind)
        await step.write()
        grown = (await _num_bytes(memory, kind) - before) / step.num_rows
        lines.append(Line(f"profile.storage.{step.name}.{kind}", grown, "bytes each"))
    lines.append(await _commit_line(memory, kind))
    await memory.database.close()
    return lines


def _steps(memory: Memory) -> list[_Step]:
    return [
        _Step("item", lambda: _write_items(memory), _NUM_ITEMS),
        _Step("item_vector", lambda: _work(memory), _NUM_ITEMS),
        _Step("event", lambda: _write_events(memory), _NUM_USERS * _NUM_EVENTS),
        _Step("profile", lambda: _work(memory), _NUM_USERS),
        _Step("list", lambda: _write_lists(memory), _NUM_USERS * _LISTS_OF_USER),
    ]


def _items(title: str) -> list[ItemContent]:
    attributes: dict[str, Any] = {"price": 9.5, "brand": "some brand", "new": True, "year": 1995.0}
    return [
        ItemContent(f"item-{n}", f"{title} {n}", "", ["drama", "war"], attributes)
        for n in range(_NUM_ITEMS)
    ]


async def _write_items(memory: Memory) -> None:
    items = _items("The title of an item of usual length")
    for start in range(0, _NUM_ITEMS, _AT_ONCE):
        await memory.catalogue.upsert(items[start : start + _AT_ONCE])


async def _write_events(memory: Memory) -> None:
    for user in range(_NUM_USERS):
        await memory.log.append(
            [
                an_event(n, user=f"user-{user}", item=f"item-{(user + 7 * n) % _NUM_ITEMS}")
                for n in range(_NUM_EVENTS)
            ]
        )


async def _write_lists(memory: Memory) -> None:
    lists = ShownLists(memory.database, Pseudonymizer(SECRET), keep_s=86_400.0)
    numbers = pack_int64(list(range(1, _LIST_LENGTH + 1)))
    for _ in range(_LISTS_OF_USER):
        await lists.store(
            [
                NewList(
                    Attribution(new_recommendation_id(), "ab" * 32, fusion_weight=0.5),
                    f"user-{user}",
                    numbers,
                )
                for user in range(_NUM_USERS)
            ]
        )


async def _commit_line(memory: Memory, kind: str) -> Line:
    """Time a commit that changes the title of every item."""
    stages = Stages(memory.database, memory.signals, keep_s=3_600.0)
    items = _items("Another title")
    for start in range(0, _NUM_ITEMS, _AT_ONCE):
        await stages.put("next", items[start : start + _AT_ONCE])
    begun = time.perf_counter()
    await stages.commit("next", delete_others=True)
    took = time.perf_counter() - begun
    return Line(f"profile.storage.commit.{kind}", 1_000 * took, f"ms for {_NUM_ITEMS:,} items")


async def _work(memory: Memory) -> None:
    encoder: Any = _Encoder()
    worker = memory.worker(encoder, spec=Spec("an encoder:fp32:1", _CHUNK_LENGTH))
    while await worker.step():
        pass
    await worker.close()


async def _num_bytes(memory: Memory, kind: str) -> int:
    async with reading(memory.database) as connection:
        statement = text(_OF_FILE if kind == "sqlite" else _OF_SCHEMA)
        return int((await connection.execute(statement)).scalar_one())
