"""The profile service for its tests: its use cases in this process, and as a process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.util import await_only, greenlet_spawn

from groundswell.client import Deadlines
from groundswell.profile_service.catalogue import StoredCatalogue
from groundswell.profile_service.event_batch import AppendOutcome, NewEvent
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.store import together
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.items import Attribute, ItemContent
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_users
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.worker.loop import Worker
from groundswell.profile_service.worker.text_backends.backend import TextEncoders, WorkerEncoder
from groundswell.serving.pseudonym import Pseudonymizer
from tests.support.processes import SECRET
from tests.support.suite import Suite

T = TypeVar("T")

DAY_S = 86_400.0
SPEC = Spec("a text encoder:fp32:1", 4)


class CountingEncoder:
    """Stands for the text encoder where a test counts what is encoded: a hash of each text."""

    dimension = 8

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.poison: str | None = None
        self.delay_s = 0.0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts and remember them; fails on a batch that holds the poison."""
        if self.poison is not None and any(self.poison in text for text in texts):
            raise RuntimeError("poison")
        time.sleep(self.delay_s)
        self.texts.extend(texts)
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.array(rows, np.float32).reshape(-1, 8)


@dataclass
class Memory:
    """The profile service's use cases over one database, as one process has them."""

    database: Database
    log: EventStore
    catalogue: StoredCatalogue
    signals: Signals
    settings: ProfileSettings

    def worker(
        self,
        encoder: WorkerEncoder,
        *,
        lease_s: float = 60.0,
        spec: Spec = SPEC,
        max_chunks: int = 1_000,
    ) -> Worker:
        """A worker over this database."""
        settings = self.settings.model_copy(update={"lease_s": lease_s})
        encoders = TextEncoders(encoder, encoder)
        return Worker(self.database, encoders, spec, settings, self.signals, max_chunks)


async def open_memory(url: str, bundles: Path) -> Memory:
    """Open the use cases over a database, migrated."""
    database = Database(url)
    await database.open()
    signals = Signals()
    log = EventStore(database, Pseudonymizer(SECRET), signals, max_future_s=DAY_S)
    catalogue = StoredCatalogue(database, signals, 0.05)
    settings = ProfileSettings.model_validate(
        {"secret": SECRET, "bundles": bundles, "database_url": url}
    )
    return Memory(database, log, catalogue, signals, settings)


class Opened:
    """The connection of a transaction that stays open."""

    def __init__(self, connection: DatabaseConnection) -> None:
        self._connection = connection

    async def run(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call a function with the connection and more arguments."""
        if self._connection.dialect.is_async:
            return await greenlet_spawn(work, self._connection, *args, **options)
        return work(self._connection, *args, **options)

    async def execute(self, *args: Any) -> Any:
        """Run a statement."""
        return await self.run(DatabaseConnection.execute, *args)


def reading(database: Database) -> AbstractAsyncContextManager[Opened]:
    """A reading transaction that stays open for the body of `async with`."""
    return _opened(database.read)


def writing(database: Database) -> AbstractAsyncContextManager[Opened]:
    """A writing transaction that stays open for the body of `async with`."""
    return _opened(database.write)


def wait_inside(
    connection: DatabaseConnection, loop: asyncio.AbstractEventLoop, event: asyncio.Event
) -> None:
    """Let a transaction wait for an event of the loop, wherever the transaction runs."""
    if connection.dialect.is_async:
        await_only(event.wait())
    else:
        asyncio.run_coroutine_threadsafe(event.wait(), loop).result()


@asynccontextmanager
async def _opened(
    run: Callable[[Callable[[DatabaseConnection], None]], Awaitable[None]],
) -> AsyncIterator[Opened]:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    begun: asyncio.Future[DatabaseConnection] = loop.create_future()
    failures: list[BaseException] = []

    def body(connection: DatabaseConnection) -> None:
        loop.call_soon_threadsafe(begun.set_result, connection)
        wait_inside(connection, loop, ended)
        for error in failures:
            raise error

    transaction = asyncio.ensure_future(run(body))
    watched: list[asyncio.Future[Any]] = [transaction, begun]
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    if transaction.done():
        transaction.result()
    try:
        yield Opened(begun.result())
    except BaseException as error:
        failures.append(error)
        ended.set()
        await asyncio.gather(transaction, return_exceptions=True)
        raise
    ended.set()
    await transaction


@asynccontextmanager
async def second_process(memory: Memory) -> AsyncIterator[Memory]:
    """What another process has over the same PostgreSQL; with SQLite there is only one."""
    if memory.settings.is_sqlite:
        yield memory
        return
    other = await open_memory(memory.settings.database_url, memory.settings.bundles)
    yield other
    await other.database.close()


def an_item(
    name: str, title: str = "", attributes: dict[str, Attribute] | None = None
) -> ItemContent:
    """An item with a title of its own."""
    return ItemContent(name, title or f"The {name}", "", ["drama"], attributes or {})


def an_event(n: int, *, user: str = "ann", item: str = "a", time: int | None = None) -> NewEvent:
    """The n-th event of a user, a click at time n."""
    when = n if time is None else time
    return NewEvent(user, f"e{n}", EventContent(item, 2, None, when, 0, "", ""))


async def fill(
    memory: Memory, num_events: int, *, user: str = "ann", items: str = "abcd"
) -> list[AppendOutcome]:
    """Store four items, and events of one user with them in turn, at times 0, 1, 2 …"""
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    events = [an_event(n, user=user, item=items[n % 4]) for n in range(num_events)]
    return await memory.log.append(events)


async def work_all(memory: Memory, encoder: CountingEncoder, *, items_only: bool = False) -> None:
    """Let a worker do what is due now; with `items_only` what it claims first, the items."""
    worker = memory.worker(encoder)
    for _ in range(1 if items_only else 50):
        if not await worker.step():
            break
    await worker.close()


async def num_stale_users(memory: Memory) -> int:
    """Count the users who wait for the encoder."""
    async with reading(memory.database) as connection:
        return await connection.run(WorkList(stale_users).count, 2**62)


def profile_service(
    folder: Path, bundles: Path, environment: Mapping[str, str] | None = None
) -> Suite:
    """A profile service alone, over SQLite in `folder` unless the environment says otherwise."""
    settings = {"profile": environment or {}}
    return Suite(folder, bundles, ("profile",), settings=settings, deadlines=Deadlines())


@contextmanager
def sent_statements(note: Callable[[str], object]) -> Iterator[None]:
    """Note the text of each statement that goes to a database inside, in their order."""
    compiled = together._compiled

    def by_driver(statement: ClauseElement, dialect: Dialect) -> Any:
        note(str(statement))
        return compiled(statement, dialect)

    def by_engine(_c: object, _cursor: object, statement: str, *_: object) -> None:
        note(statement)

    event.listen(Engine, "before_cursor_execute", by_engine)
    try:
        with patch.object(together, "_compiled", by_driver):
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", by_engine)
