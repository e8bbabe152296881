"""The encoder worker: claims stale items and users, encodes their texts in batches, stores them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.features.text import content_hash, item_text
from groundswell.profile_service.histories import (
    NOTHING_COVERED,
    Covered,
    CutHistory,
    cut,
    start_of,
)
from groundswell.profile_service.profile_rows import chunk_row, profile_row
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.signals import Signals
from groundswell.profile_service.store import events as event_statements
from groundswell.profile_service.store import items as item_statements
from groundswell.profile_service.store import profiles as profile_statements
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.events import OrderKey
from groundswell.profile_service.store.items import KnownItem
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.work import Claim, WorkList
from groundswell.profile_service.tables import stale_items, stale_users
from groundswell.serving.errors import Unavailable
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

_AFTER_OUTAGE_S = 1.0
_MAX_BACK_OFF_S = 300.0
HOPELESS = 5
"""After so many attempts nothing waits for an item or a user any more."""
_SLICE = 256
"""Texts that are encoded between two chances to stop."""


class TextEncoder(Protocol):
    """Texts → vectors [n, t]; torch and onnxruntime both do it."""

    dimension: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts; runs in the worker's own thread."""
        ...


class Worker:
    """Works off the two lists for one encoder. Nothing is held while a model runs.

    A subject that fails alone goes back with a growing delay, and never blocks the others.
    """

    def __init__(
        self,
        database: Database,
        encoder: TextEncoder,
        spec: Spec,
        settings: ProfileSettings,
        signals: Signals,
    ) -> None:
        self.spec = spec
        self._database = database
        self._encoder = encoder
        self._settings = settings
        self._signals = signals
        self._items = WorkList(stale_items)
        self._users = WorkList(stale_users)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")

    async def run(self) -> None:
        """Work until cancelled; outages of the database are waited out."""
        while True:
            mark = self._signals.work.mark
            try:
                if not await self.step():
                    await self._signals.work.wait(mark, self._settings.idle_poll_s)
            except Unavailable:
                await asyncio.sleep(_AFTER_OUTAGE_S)

    async def close(self) -> None:
        """Free the thread, after what runs in it."""
        await asyncio.to_thread(self._thread.shutdown)

    async def step(self) -> bool:
        """Claim and finish one batch: items while there are any, else users. False: no work."""
        settings = self._settings
        for work, limit, encode in (
            (self._items, settings.worker_items, self._encode_items),
            (self._users, settings.worker_users, self._encode_users),
        ):
            claim = await self._database.write(
                partial(work.claim, limit=limit, lease_s=settings.lease_s)
            )
            if claim.versions:
                async with self._renewed(work, claim):
                    await self._attempt(work, claim, encode)
                return True
        return False

    async def mark_uncovered(self) -> None:
        """Put everything on the lists that this encoder has never read or does not cover."""
        await self._database.write(self._mark_uncovered)
        self._signals.work.notify()

    async def _mark_uncovered(self, connection: DatabaseConnection) -> None:
        for work, uncovered in (
            (self._items, item_statements.items_without_text(self.spec.fingerprint)),
            (self._users, profile_statements.uncovered_users(self.spec)),
        ):
            if self._settings.is_sqlite:
                # This process is the only one, so whoever holds a claim is dead.
                await work.free(connection)
            await work.mark_all(connection, uncovered)

    async def _attempt(self, work: WorkList, claim: Claim, encode: Any) -> None:
        try:
            await encode(claim, list(claim.versions))
        except asyncio.CancelledError:
            # Whoever goes on need not wait for the lease to end.
            with suppress(Unavailable):
                await self._release(work, claim, 0.0)
            raise
        except Unavailable:
            # If the database is back already, nobody needs to wait for the lease to end.
            with suppress(Unavailable):
                await self._release(work, claim, _AFTER_OUTAGE_S)
            raise
        except Exception as error:  # noqa: BLE001 - one bad subject must not stop the worker
            if len(claim.versions) > 1:
                for subject in claim.versions:
                    alone = Claim(claim.owner, *({subject: x[subject]} for x in claim[1:]))
                    await self._attempt(work, alone, encode)
                return
            (attempt,) = claim.attempts.values()
            count("encoding_failures")
            _log.error("encoding_failed", attempt=attempt, exc_info=error)
            await self._release(work, claim, min(2.0 ** min(attempt, 10), _MAX_BACK_OFF_S))

    @asynccontextmanager
    async def _renewed(self, work: WorkList, claim: Claim) -> AsyncIterator[None]:
        """Keep a claim's lease from ending while it is worked off."""
        task = asyncio.create_task(self._renew(work, claim))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _renew(self, work: WorkList, claim: Claim) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / 3)
            with suppress(Unavailable):
                renew = partial(work.renew, claim=claim, lease_s=self._settings.lease_s)
                await self._database.write(renew)

    async def _release(self, work: WorkList, claim: Claim, delay_s: float) -> None:
        await self._database.write(lambda c: work.release(c, claim, claim.versions, delay_s))

    async def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        loop = asyncio.get_running_loop()
        vectors = np.empty((len(texts), self._encoder.dimension), np.float32)
        for start in range(0, len(texts), _SLICE):
            part = texts[start : start + _SLICE]
            encoded = await loop.run_in_executor(self._thread, self._encoder.encode, part)
            vectors[start : start + _SLICE] = encoded
        if not np.isfinite(vectors).all():
            raise ValueError("the text encoder gave a value that is not finite")
        return vectors

    async def _encode_items(self, claim: Claim, item_nos: list[int]) -> None:
        fingerprint = self.spec.fingerprint

        async def look(
            connection: DatabaseConnection,
        ) -> tuple[dict[int, KnownItem], dict[int, bytes]]:
            return (
                await item_statements.items_by_number(connection, item_nos),
                await item_statements.text_hashes(connection, item_nos, fingerprint),
            )

        items, hashes = await self._database.read(look)
        texts = {
            number: item_text(c.title, c.categories, c.description)
            for number, c in ((number, item.content) for number, item in items.items())
        }
        digests = {number: content_hash(text, fingerprint) for number, text in texts.items()}
        new = [number for number in texts if hashes.get(number) != digests[number]]
        vectors = await self._encode([texts[number] for number in new])
        rows = [
            {
                "item_no": number,
                "fingerprint": fingerprint,
                "content_hash": digests[number],
                "vector": vector.astype("<f4").tobytes(),
            }
            for number, vector in zip(new, vectors, strict=True)
        ]
        num_stored = await self._database.write(lambda c: self._store_items(c, claim, rows))
        self._signals.catalogue.notify()
        count("items_encoded", amount=num_stored)

    async def _store_items(
        self, connection: DatabaseConnection, claim: Claim, rows: list[dict[str, Any]]
    ) -> int:
        revision = await item_statements.lock_revision(connection)
        held = await self._items.still_held(connection, claim, claim.versions)
        # One that changed meanwhile has another text by now.
        same = {n for n, version in held.items() if version == claim.versions[n]}
        rows = [row for row in rows if row["item_no"] in same]
        await item_statements.put_texts(connection, rows)
        revisions = {row["item_no"]: revision + 1 + n for n, row in enumerate(rows)}
        await item_statements.touch_items(connection, revisions)
        await item_statements.set_revision(connection, revision + len(rows))
        await self._items.finish(connection, claim, {n: claim.versions[n] for n in held})
        return len(rows)

    async def _encode_users(self, claim: Claim, user_nos: list[int]) -> None:
        histories, stored = await self._database.read(lambda c: self._cut_histories(c, user_nos))
        new = [
            (history.user_no, chunk)
            for history in histories
            for chunk in history.chunks
            if stored.get((history.user_no, chunk.number)) != (chunk.content_hash, chunk.last)
        ]
        encoded = await self._encode([chunk.text for _, chunk in new])
        chunk_rows = [
            chunk_row(user_no, self.spec, chunk, vector)
            for (user_no, chunk), vector in zip(new, encoded, strict=True)
        ]
        await self._database.write(lambda c: self._store_users(c, claim, histories, chunk_rows))
        count("chunks_encoded", amount=len(chunk_rows))

    async def _cut_histories(
        self, connection: DatabaseConnection, user_nos: list[int]
    ) -> tuple[list[CutHistory], dict[tuple[int, int], tuple[bytes, OrderKey]]]:
        """Cut what is new of each history; also return the content and the end of each chunk."""
        known = await profile_statements.find_profiles(connection, user_nos, self.spec)
        chunks = await profile_statements.stored_chunks(connection, user_nos, self.spec)
        covered = dict.fromkeys(user_nos, NOTHING_COVERED) | {
            n: Covered(row.covered_sequence, row.recent) for n, row in known.items()
        }
        newer = await event_statements.newer_events(
            connection, {n: c.sequence for n, c in covered.items()}
        )
        starts = {
            n: start_of(chunks[n], c, newer.get(n), self.spec.chunk_length)
            for n, c in covered.items()
        }
        places = {n: start.place for n, start in starts.items()}
        histories = cut(await event_statements.events_from(connection, places), starts, self.spec)
        stored = {
            (n, c.chunk_no): (c.content_hash, (c.last_time_us, c.last_ordinal, c.last_event_id))
            for n, own in chunks.items()
            for c in own
        }
        return histories, stored

    async def _store_users(
        self,
        connection: DatabaseConnection,
        claim: Claim,
        histories: list[CutHistory],
        chunk_rows: list[dict[str, Any]],
    ) -> None:
        held = await self._users.still_held(connection, claim, [h.user_no for h in histories])
        own = [h for h in histories if h.user_no in held]
        rows = [r for r in chunk_rows if r["user_no"] in held]
        await profile_statements.put_chunks(connection, rows)
        profiles = [profile_row(history, self.spec) for history in own]
        await profile_statements.put_profiles(connection, profiles)
        await self._users.finish(connection, claim, {h.user_no: h.covered_sequence for h in own})
