"""Erases users and anonymous sessions, keeps their tombstones, and tells of erasures."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from groundswell.profile_service.background import job_failed
from groundswell.profile_service.rights.tombstone_file import TombstoneFile
from groundswell.profile_service.store import erasures as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.erasures import (
    ErasureState,
    StoredReceipt,
    StoredSubject,
    Tombstone,
)
from groundswell.profile_service.store.failures import Cause, service_error
from groundswell.profile_service.store.polling import SharedPoll
from groundswell.profile_service.store.signals import Signal
from groundswell.profile_service.store.users import UserKeys
from groundswell.serving.pseudonym import Pseudonymizer, mark_of
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

_PART = 2_000
"""The most rows that one transaction deletes: other writes wait for it."""
_KEYS_AT_ONCE = 10_000
_AGAIN_S = 1.0
WATCH_PAGE = 10_000


class Receipt(NamedTuple):
    """What an erasure deleted, and how much this process held in memory."""

    stored: StoredReceipt
    num_cached: int
    kept_outside: bool


class ErasedMarks(NamedTuple):
    """The marks of some erased users, and the revision up to which these are all."""

    marks: list[bytes]
    state: ErasureState


class Erasures:
    """Erases in two steps: nobody finds the user any more, then rows are deleted part by part.

    What one process leaves unfinished, any other one finishes. The tombstones are kept in a file
    too. Those that the database lacks, because it was restored, are applied again: at the start,
    and whenever its newest revision is lower than before. `drop` forgets what the process holds of
    users by their marks, and returns how much that was.
    """

    def __init__(
        self,
        database: Database,
        pseudonyms: Pseudonymizer,
        file: Path | None,
        *,
        drop: Callable[[Collection[bytes]], int],
        idle_poll_s: float,
    ) -> None:
        self._database = database
        self._pseudonyms = pseudonyms
        self._file = TombstoneFile(file)
        self._drop = drop
        self._changed = Signal()
        self._poll = SharedPoll(
            lambda: database.read(statements.read_state), self._changed, idle_poll_s
        )
        self._known: ErasureState | None = None
        self._is_compact = False  # an earlier process may have ended before
        self._syncing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Apply what the database lacks, and then follow what other processes erase.

        Raises Unavailable.
        """
        await self._sync()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def count(self, subject: str) -> Mapping[str, int]:
        """Return how many rows each table has of a user or a session. Raises Unavailable."""
        keys = self._pseudonyms.user_keys(subject)

        def look(connection: DatabaseConnection) -> Mapping[str, int]:
            found = statements.find_subjects(connection, keys)
            return statements.count_rows(connection, [one.user_no for one in found])

        return await self._database.read(look)

    async def erase(self, subject: str) -> Receipt:
        """Erase a user or an anonymous session, and return the receipt.

        Raises FailedPrecondition (SECRET_OUTDATED), Unavailable (also ERASURES_UNUSABLE) and
        ResourceExhausted; the same call again goes on where this one ended.
        """
        keys = self._pseudonyms.user_keys(subject)
        marks = [mark_of(key) for key in keys]
        while (erasure_id := await self._database.write(partial(self._begin, keys=keys))) is None:
            pass
        num_cached = self._drop(marks)
        await self._sync()
        await self._finish(erasure_id)
        self._drop(marks)  # what a read that began before has put there
        stored = await self._database.read(partial(statements.read_receipt, erasure_id=erasure_id))
        return Receipt(stored, num_cached, self._file.is_kept)

    async def finish(self) -> int:
        """Delete what earlier calls and processes left; return how many erasures that ended."""
        waiting = await self._database.read(statements.unfinished)
        for erasure_id in waiting:
            await self._finish(erasure_id)
        if not self._is_compact:
            await self._compact()
        return len(waiting)

    async def watch(self, since: int, lineage: str) -> AsyncGenerator[ErasedMarks, None]:
        """Yield the erasures after a revision, for ever; the first answer comes at once.

        In another lineage all are told again (empty: unknown). Raises Unavailable before `start`.
        """
        if self._known is None:
            # Others call while this process starts, perhaps before there is any table.
            raise service_error(Cause.GONE)
        first = True
        with self._poll.waiting():
            while True:
                mark = self._changed.mark
                read = partial(statements.tombstones_after, revision=since, limit=WATCH_PAGE)
                found, state = await self._database.read(read)
                if lineage not in ("", state.lineage) or state.revision < since:
                    since, lineage = 0, ""
                    continue
                if found or first:
                    yield ErasedMarks([one.mark for one in found], state)
                since, lineage, first = state.revision, state.lineage, False
                if len(found) < WATCH_PAGE:
                    await mark.wait()

    def _begin(self, connection: DatabaseConnection, keys: UserKeys) -> str | None:
        """Begin an erasure, or move the time of the one that there was to now.

        None: others changed what to lock.
        """
        found = statements.find_subjects(connection, keys)
        statements.lock_subjects(connection, found)
        if statements.find_subjects(connection, keys) != found:
            return None
        known = statements.find_tombstones(connection, [mark_of(key) for key in keys])
        if known and not found:
            erasure_id = known[0].erasure_id
        else:
            erasure_id = secrets.token_hex(16)
            count("users_erased")
        asked_us, newest_us = now_us(), statements.newest_time(connection, found)
        # Not before what is refused already, nor before an event that may be sent again.
        erased_us = max(asked_us, newest_us or asked_us, *(one.erased_us for one in known))
        marks = {mark_of(key) for key in keys} | self._marks(found)
        new = [Tombstone(mark, erasure_id, erased_us) for mark in marks]
        statements.begin_erasure(connection, new, {one.user_no for one in found}, asked_us)
        return erasure_id

    def _marks(self, found: Collection[StoredSubject]) -> set[bytes]:
        """Return the marks of stored keys, and of those that newer secrets make of them."""
        newest = self._pseudonyms.num_secrets
        return {
            mark_of(self._pseudonyms.newer_key(one.key, one.version, version))
            for one in found
            for version in range(one.version, newest + 1)
        }

    async def _finish(self, erasure_id: str) -> None:
        part = partial(statements.erase_some, erasure_id=erasure_id, limit=_PART)
        while await self._database.write(partial(part, now_us=now_us())):
            pass
        await self._compact()

    async def _compact(self) -> None:
        self._is_compact = await self._database.compact()
        if not self._is_compact:
            _log.warning("write_ahead_log_not_emptied")

    async def _follow(self) -> None:
        with self._poll.waiting():
            while True:
                mark = self._changed.mark
                try:
                    await self._sync()
                except Exception as error:  # noqa: BLE001 - else erased users would stay in memory
                    job_failed("follow_erasures", error)
                    await asyncio.sleep(_AGAIN_S)
                else:
                    await mark.wait()

    async def apply_kept(self) -> None:
        """Erase again whom the file knows as erased and the database does not.

        Raises Unavailable (also ERASURES_UNUSABLE).
        """
        kept = await asyncio.to_thread(self._file.load)
        if not kept:
            return
        stored, _ = await self._database.read(partial(statements.tombstones_after, revision=0))
        newest = {one.mark: one for one in stored}
        lacking = [one for one in kept.values() if one.is_newer_than(newest.get(one.mark))]
        if not lacking:
            return
        found = await self._find({one.mark for one in lacking})
        for erased_us, erasure_id in sorted({(one.erased_us, one.erasure_id) for one in lacking}):
            mine = [one for one in lacking if one[1:] == (erasure_id, erased_us)]
            own = {found[one.mark] for one in mine if one.mark in found}
            while not await self._database.write(partial(self._again, again=mine, own=own)):
                pass
            await self._finish(erasure_id)
        _log.warning("erasures_applied_again", num_tombstones=len(lacking), num_found=len(found))

    async def _sync(self) -> None:
        """Let the file, the database and the process's memory know the same tombstones."""
        async with self._syncing:
            state = await self._database.read(statements.read_state)
            known = self._known
            if known is None or known.lineage != state.lineage or known.revision > state.revision:
                await self.apply_kept()
                since = 0
            else:
                since = known.revision
            read = partial(statements.tombstones_after, revision=since)
            new, state = await self._database.read(read)
            await asyncio.to_thread(self._file.add, new)
            if new:
                self._drop({one.mark for one in new})
            self._known = state
        if state != known:
            self._changed.notify()

    def _again(self, connection: DatabaseConnection, again: list[Tombstone], own: set[int]) -> bool:
        """Repeat an erasure in a restored database; False: others changed what to lock."""
        found = statements.with_sessions(connection, own)
        statements.lock_subjects(connection, found)
        if statements.with_sessions(connection, own) != found:
            return False
        erasure_id, erased_us = again[0].erasure_id, again[0].erased_us
        marks = {one.mark for one in again} | self._marks(found)
        new = [Tombstone(mark, erasure_id, erased_us) for mark in marks]
        statements.begin_erasure(connection, new, {one.user_no for one in found}, now_us())
        for one in found:
            statements.keep_newer(connection, one, erased_us)
        return True

    async def _find(self, marks: Collection[bytes]) -> dict[bytes, int]:
        """Find users by their marks: every user is looked at."""
        found: dict[bytes, int] = {}
        last = 0
        while page := await self._database.read(
            partial(statements.page_of_keys, after=last, limit=_KEYS_AT_ONCE)
        ):
            found |= {mark_of(one.key): one.user_no for one in page if mark_of(one.key) in marks}
            last = page[-1].user_no
        return found
