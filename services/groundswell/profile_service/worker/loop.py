"""The work loop: claims stale items and users in turns, and retries what fails."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import structlog

from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.work import MAX_DELAY_S, Claim, WorkList
from groundswell.profile_service.worker.encode_items import EncodeItems
from groundswell.profile_service.worker.encode_users import EncodeUsers
from groundswell.profile_service.worker.encoder_thread import EncoderThread
from groundswell.profile_service.worker.every_encoder import OUTAGES, EveryEncoder
from groundswell.profile_service.worker.text_backends.backend import TextEncoders
from groundswell.profile_service.worker.uncovered import mark_uncovered
from groundswell.serving.telemetry import count, gauge, unexpected
from groundswell.serving.tracing import new_trace

_log = structlog.get_logger(__name__)

_AFTER_OUTAGE_S = 1.0
_OLDEST_EVERY = 4
"""Every so many claims of a kind one begins with the oldest subjects."""
MAX_ATTEMPTS = 5
"""How many failed attempts of an item or a user a backfill waits for."""
_RECOVER_EVERY_S = 1.0
"""The time between two looks for lost claims; less where a lease is short."""


class EncoderError(Exception):
    """The text encoder fails on every text."""


@dataclass
class _Kind:
    """One kind of claim: items or users, and whether suspects."""

    work: EveryEncoder
    suspects: bool
    spent: int = 0
    """The cost of its claims so far."""
    num_claims: int = 0


class Worker:
    """Works off the two lists for one or more encoders. No transaction is open while a model runs.

    The kind of claim that has cost least is next: items, users, or suspects of either, which are
    claimed alone. The newest subjects of a kind come first, but every fourth claim begins with the
    oldest. A subject that fails is released with a growing delay, so it does not block the others.
    """

    def __init__(
        self,
        database: Database,
        encoders: TextEncoders,
        spec: Spec,
        settings: ProfileSettings,
        signals: Signals,
        max_chunks: int,
    ) -> None:
        """Take the served encoders, and the most chunks of a user that its bundle's head reads."""
        self._database = database
        self._settings = settings
        self._signals = signals
        self._threads: dict[Spec, tuple[EncoderThread, ...]] = {}
        self._items = EveryEncoder(database, WorkList(stale_items), settings.claim_tokens)
        self._users = EveryEncoder(database, WorkList(stale_users), settings.claim_tokens)
        self._works = (self._items, self._users)
        self.join(encoders, spec, max_chunks)
        self._kinds = [_Kind(work, suspects) for suspects in (False, True) for work in self._works]
        self._owner = uuid.uuid4().hex
        self._may_hold = False
        """Whether an interrupted step may have left a claim."""
        self._recover_s = 0.0
        """The monotonic time from which on lost claims are looked for again."""
        self._claiming: asyncio.Future[tuple[EveryEncoder | None, Claim]] | None = None
        """The newest claim. A transaction goes on when its step is interrupted."""

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The encoders in use, the served one first."""
        return tuple(self._threads)

    def join(self, encoders: TextEncoders, spec: Spec, max_chunks: int) -> None:
        """Encode what is claimed from now on with another encoder too."""
        items, chunks = self._threads[spec] = tuple(map(EncoderThread, encoders))
        self._items.join(spec, EncodeItems(self._database, items, spec, self._signals))
        if spec.reads_histories:
            self._users.join(spec, EncodeUsers(self._database, chunks, spec, max_chunks))

    def serve(self, spec: Spec) -> None:
        """Make an encoder in use the served one: what it fails on is tried again."""
        self._threads = {spec: self._threads[spec], **self._threads}
        for work in self._works:
            work.serve(spec)

    async def keep(self, specs: Collection[Spec]) -> None:
        """Remove every encoder but these and the served one."""
        for spec in [one for one in self.specs[1:] if one not in specs]:
            for work in self._works:
                work.leave(spec)
            await _close(self._threads.pop(spec))

    async def close(self) -> None:
        """Free the threads when their current calls have ended, and release what is claimed."""
        for threads in self._threads.values():
            await _close(threads)
        if self._may_hold:
            if self._claiming is not None:
                await asyncio.gather(self._claiming, return_exceptions=True)
            with suppress(*OUTAGES):
                await self._database.write(self._release_all)

    async def step(self) -> bool:
        """Claim and finish some work of the kind that has cost least. False: there is none."""
        may_hold, self._may_hold = self._may_hold, True
        claim_work = partial(self._claim, release_first=may_hold)
        self._claiming = asyncio.ensure_future(self._database.write(claim_work))
        work, claim = await asyncio.shield(self._claiming)
        if work is not None:
            await self._work_off(work, claim)
        self._may_hold = False
        return work is not None

    async def _work_off(self, work: EveryEncoder, claim: Claim) -> None:
        gauge("worker_lease_began_timestamp_seconds", time.time())
        name = work.stale.name
        try:
            with new_trace(f"worker {name}", num_subjects=len(claim.versions)):
                async with self._renewed(work.stale, claim):
                    for part in await work.parts(claim):
                        await self._attempt(work, part)
        finally:
            gauge("worker_lease_began_timestamp_seconds", 0)

    async def take_over(self) -> None:
        """End the claims of the earlier process; call this once, before the first step.

        With PostgreSQL it does nothing: other workers may run, and lost leases run out.
        """
        if self._settings.is_sqlite:
            await self._database.write(partial(self._recover, alone=True))

    async def mark_uncovered(self) -> None:
        """Put everything on the lists that the served encoder does not cover."""
        await mark_uncovered(self._database, self.specs[0])
        self._signals.work.notify()

    def _claim(
        self, connection: DatabaseConnection, *, release_first: bool
    ) -> tuple[EveryEncoder | None, Claim]:
        if release_first:
            self._release_all(connection)
        if time.monotonic() >= self._recover_s:
            self._recover(connection)
            self._recover_s = time.monotonic() + min(_RECOVER_EVERY_S, self._settings.lease_s / 4)
        without: list[_Kind] = []
        for kind in sorted(self._kinds, key=lambda kind: kind.spent):
            work, oldest = kind.work, kind.num_claims % _OLDEST_EVERY == _OLDEST_EVERY - 1
            options = {"suspects": kind.suspects, "oldest": oldest}
            if work:
                claim, cost = work.claim(connection, self._owner, self._settings.lease_s, **options)
                if claim.versions:
                    # A kind gets no credit for the time in which it had no work.
                    for other in without:
                        other.spent = kind.spent
                    kind.spent += cost
                    kind.num_claims += 1
                    return work, claim
            without.append(kind)
        return None, Claim(self._owner, {}, {})

    def _release_all(self, connection: DatabaseConnection) -> None:
        for work in self._works:
            work.stale.release_all(connection, self._owner)

    def _recover(self, connection: DatabaseConnection, *, alone: bool = False) -> None:
        for work in self._works:
            lost = work.stale.recover(connection, self._settings.lease_s, alone=alone)
            for number in lost:
                count("work_set_aside", list=work.stale.name)
                _log.error("work_set_aside", list=work.stale.name, number=number)

    async def _attempt(self, work: EveryEncoder, claim: Claim) -> None:
        try:
            await work.encode(claim)
        except (asyncio.CancelledError, *OUTAGES) as error:
            # Then another worker need not wait for the lease to end.
            outage = not isinstance(error, asyncio.CancelledError)
            with suppress(*OUTAGES):
                await self._release(work, claim, _AFTER_OUTAGE_S if outage else 0.0, counts=False)
            raise
        except Exception as error:
            if len(claim.versions) > 1:
                for subject in claim.versions:
                    await self._attempt(work, claim.only([subject]))
                return
            (attempt,) = claim.attempts.values()
            count("encoding_failures")
            _log.error("encoding_failed", attempt=attempt, **unexpected(error))
            if not await work.works():
                await self._release(work, claim, _AFTER_OUTAGE_S, counts=False)
                raise EncoderError from error
            await self._release(work, claim, min(2.0 ** min(attempt, 10), MAX_DELAY_S), counts=True)

    async def _release(
        self, work: EveryEncoder, claim: Claim, delay_s: float, *, counts: bool
    ) -> None:
        await self._database.write(lambda c: work.stale.release(c, claim, delay_s, counts=counts))

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
            with suppress(*OUTAGES):
                await self._database.write(lambda c: work.renew(c, claim, self._settings.lease_s))


async def _close(threads: Iterable[EncoderThread]) -> None:
    for thread in threads:
        await thread.close()
