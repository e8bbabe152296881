"""Works off pages of users and items in a process of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import load_bundle
from groundswell.profile_service.rebuild.users import Counts, RebuildUsers, each_alone_if_it_fails
from groundswell.profile_service.store import items as item_statements
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker.encode_items import encode_texts, unchanged
from groundswell.profile_service.worker.encoder_thread import EncoderThread
from groundswell.profile_service.worker.every_encoder import OUTAGES
from groundswell.profile_service.worker.text_backends.backend import Machine
from groundswell.profile_service.worker.text_backends.choice import load_encoders
from groundswell.profile_service.worker.text_backends.registry import EXACT
from groundswell.serving.errors import ServiceError

T = TypeVar("T")

ITEM_NO, USER_NO, LOG = "item_no", "user_no", "log"
"""The columns of a page: numbers of items, or numbers of users and, where a log is read, a list of
the rows of each."""
LOG_TYPE = pa.list_(
    pa.struct(
        [
            ("event_id", pa.string()),
            ("item_id", pa.string()),
            ("action", pa.int64()),
            ("session_id", pa.string()),
            ("time_us", pa.int64()),
            ("ordinal", pa.int64()),
        ]
    )
)

_AFTER_OUTAGE_S, _LONGEST_OUTAGE_S = 1.0, 60.0


@dataclass(frozen=True)
class Plan:
    """What each process has to know; paths and addresses must be valid where it runs."""

    database_url: str
    bundle: Path
    """The folder of the bundle whose profiles are made."""
    backend: str = EXACT
    """What encodes the chunks of histories: the name of a text backend, or `auto`."""
    device: str = "cpu"


class PageError(Exception):
    """A page could not be worked off; the text says why. It can be sent to another process."""


class PageWork:
    """Rebuilds pages, one after the other. It opens what it needs when it is made."""

    def __init__(self, plan: Plan) -> None:
        """Raise PageError when the bundle or its text backend cannot be used."""
        with _sendable_errors():
            self._open(plan)

    def _open(self, plan: Plan) -> None:
        bundle = load_bundle(plan.bundle)
        spec = Spec.of(bundle.manifest)
        self._fingerprint = spec.fingerprint
        # The event loop of the connections to PostgreSQL.
        self._runner = asyncio.Runner()
        self._database = Database(plan.database_url, pool_size=1)
        encoders = load_encoders(bundle, plan.backend, Machine(plan.device), cache=None)
        self._encoding, chunks = map(EncoderThread, encoders)
        max_chunks = bundle.manifest.max_chunks
        self._users = RebuildUsers(self._database, chunks, spec, max_chunks)

    def __call__(self, page: pa.Table) -> pa.Table:
        """Work off one page; return the columns of Counts, and the `last` number of the page.

        An outage of the database is waited for, at most a minute. Raises PageError.
        """
        work: Callable[[], Awaitable[Counts]]
        rows = page.to_pydict()
        if ITEM_NO in rows:
            numbers = rows[ITEM_NO]
            encode = self._encode_items
            work = partial(each_alone_if_it_fails, encode, numbers, self._encoding)
        else:
            numbers = rows[USER_NO]
            logs = dict(zip(numbers, rows.get(LOG, [None] * len(numbers)), strict=True))
            given = {user_no: log for user_no, log in logs.items() if log is not None}
            work = partial(self._users.run, numbers, given)
        with _sendable_errors():
            counts = self._runner.run(_patiently(work))
        return pa.table({"last": [numbers[-1]], **{k: [v] for k, v in counts._asdict().items()}})

    async def _encode_items(self, item_nos: Sequence[int]) -> Counts:
        rows = await encode_texts(self._database, self._encoding, self._fingerprint, item_nos)

        def store(connection: DatabaseConnection) -> int:
            revision = item_statements.lock_revision(connection)
            same = unchanged(connection, rows)
            item_statements.store_texts(connection, revision, same)
            return len(same)

        num_stored = await self._database.write(store)
        return Counts(num_stored, len(item_nos) - len(rows), len(rows) - num_stored)


@contextmanager
def _sendable_errors() -> Iterator[None]:
    try:
        yield
    except (BundleError, ServiceError) as error:
        raise PageError(str(error)) from error


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work; repeat it while the database does not answer."""
    end_s = time.monotonic() + _LONGEST_OUTAGE_S
    while True:
        try:
            return await work()
        except OUTAGES:
            if time.monotonic() >= end_s:
                raise
        await asyncio.sleep(_AFTER_OUTAGE_S)
