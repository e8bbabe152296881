"""Makes the profiles of some users again from their whole histories, and stores what differs."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog

from groundswell.profile_service.rebuild.log_histories import LogRow, histories_of_log
from groundswell.profile_service.store import profiles as statements
from groundswell.profile_service.store import rebuilds
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker.encode_users import PART_EVENTS, encode_chunks
from groundswell.profile_service.worker.encoder_thread import EncoderThread
from groundswell.profile_service.worker.every_encoder import OUTAGES
from groundswell.profile_service.worker.histories import CutHistory, Stored, cut, new_chunks
from groundswell.profile_service.worker.profile_rows import profile_row
from groundswell.profile_service.worker.reading import READ_TIMEOUT_S, HistoryReader, ReadHistories
from groundswell.serving.telemetry import unexpected

_log = structlog.get_logger(__name__)

_TRIES = 5
"""The most times that a user is read who gets new events each time."""

Logs = Mapping[int, Sequence[LogRow]]
"""The rows of a log, by the user's number."""


class Counts(NamedTuple):
    """How many users, or items, a rebuild wrote, found correct, and left out."""

    written: int = 0
    correct: int = 0
    """Those whose stored rows were correct already."""
    failed: int = 0
    """Those whose texts cannot be encoded, and those who got new events at each try."""

    def plus(self, other: "Counts") -> "Counts":
        """Add two counts."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class RebuildUsers:
    """Rebuilds profiles for one text encoder and one profile head.

    Nothing is locked while a history is read and encoded. The transaction that stores it locks its
    users, and leaves out those who got an event meanwhile: they are read again.
    """

    def __init__(
        self, database: Database, encoding: EncoderThread, spec: Spec, max_chunks: int
    ) -> None:
        self._database = database
        self._encoding = encoding
        self._spec = spec
        self._max_chunks = max_chunks
        self._reader = HistoryReader(spec, max_chunks)

    async def run(self, user_nos: Sequence[int], logs: Logs) -> Counts:
        """Rebuild the profiles of users; of those in `logs` the history is taken from there.

        Raises what the database raises, and what an encoder raises that fails on every text.
        """
        newest = await self._database.read(partial(rebuilds.newest_sequences, user_nos=user_nos))
        counts = Counts()
        for part in _parts(newest):
            rebuild = partial(self._rebuild, logs=logs)
            counts = counts.plus(await each_alone_if_it_fails(rebuild, part, self._encoding))
        return counts

    async def _rebuild(self, user_nos: list[int], logs: Logs) -> Counts:
        num_written, left = 0, user_nos
        for _ in range(_TRIES):
            num_stored, left = await self._once(left, logs)
            num_written += num_stored
            if not left:
                break
        return Counts(num_written, len(user_nos) - num_written - len(left), len(left))

    async def _once(self, user_nos: list[int], logs: Logs) -> tuple[int, list[int]]:
        """Return how many profiles were stored, and the users who got events meanwhile."""
        known, found = await self._database.read(
            partial(self._read, user_nos=user_nos, logs=logs), timeout_s=READ_TIMEOUT_S
        )
        histories = cut(found.events, found.starts, self._spec)
        new = new_chunks(histories, found.stored)
        with_new = {user_no for user_no, _ in new}
        numbers = _numbers(found.stored)
        outdated = {h.user_no: list(_outdated(h, numbers[h.user_no])) for h in histories}
        changed = [
            history
            for history in histories
            if history.user_no in with_new
            or outdated[history.user_no]
            or not _is_stored(history, known.get(history.user_no))
        ]
        if not changed:
            return 0, []
        rows = await encode_chunks(self._encoding, self._spec, new)
        store = partial(self._store, changed=changed, outdated=outdated, rows=rows)
        same = await self._database.write(store)
        return len(same), [h.user_no for h in changed if h.user_no not in same]

    def _read(
        self, connection: DatabaseConnection, user_nos: list[int], logs: Logs
    ) -> tuple[dict[int, Any], ReadHistories]:
        """Read the profiles that are stored, the histories, and the chunks that are stored."""
        newest = rebuilds.newest_sequences(connection, user_nos)
        given = {user_no: logs[user_no] for user_no in user_nos if user_no in logs}
        starts, events = histories_of_log(connection, given, newest, self._spec, self._max_chunks)
        rest = {n: sequence for n, sequence in newest.items() if n not in starts}
        rest_starts, rest_events = self._reader.read_anew(connection, rest)
        stored = self._reader.stored(connection, newest)
        known = statements.find_profiles(connection, newest, self._spec)
        return known, ReadHistories(starts | rest_starts, stored, [*events, *rest_events])

    def _store(
        self,
        connection: DatabaseConnection,
        changed: list[CutHistory],
        outdated: Mapping[int, list[range]],
        rows: list[dict[str, Any]],
    ) -> set[int]:
        """Store the profiles of those users who got no event meanwhile; return these users."""
        read = {history.user_no: history.covered_sequence for history in changed}
        same = rebuilds.lock_unchanged(connection, read)
        for user_no in sorted(same):
            for numbers in outdated[user_no]:
                statements.drop_chunks(connection, user_no, self._spec, numbers)
        statements.put_chunks(connection, [row for row in rows if row["user_no"] in same])
        profiles = [profile_row(h, self._spec) for h in changed if h.user_no in same]
        statements.put_profiles(connection, profiles)
        return same


async def each_alone_if_it_fails(
    work: Callable[[list[int]], Awaitable[Counts]], numbers: list[int], encoding: EncoderThread
) -> Counts:
    """Do the work on some users or items; when it fails, on each alone, and count the failures.

    Raises what the database raises, and what an encoder raises that fails on every text.
    """
    try:
        return await work(numbers)
    except OUTAGES:
        raise
    except Exception as error:
        if not await encoding.works():
            raise
        if len(numbers) == 1:
            _log.error("not_rebuilt", number=numbers[0], **unexpected(error))
            return Counts(failed=1)
    counts = Counts()
    for number in numbers:
        counts = counts.plus(await each_alone_if_it_fails(work, [number], encoding))
    return counts


def _parts(sequences: Mapping[int, int]) -> Iterator[list[int]]:
    """Cut users into parts with few events to read; a long history is a part of its own."""
    part: list[int] = []
    num_events = 0
    for user_no, sequence in sequences.items():
        if part and num_events + sequence > PART_EVENTS:
            yield part
            part, num_events = [], 0
        part.append(user_no)
        num_events += sequence
    if part:
        yield part


def _outdated(history: CutHistory, stored: Collection[int]) -> Iterator[range]:
    """Return the numbers of stored chunks that are not part of the history, or that no head reads.

    `stored` are the numbers of all that are stored.
    """
    first = history.num_chunks - len(history.chunks)
    for outside in (range(first), range(history.num_chunks, max(stored, default=-1) + 1)):
        if any(number in outside for number in stored):
            yield outside


def _numbers(stored: Stored) -> dict[int, list[int]]:
    """Return the numbers of the chunks of each user that are stored."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for user_no, number in stored:
        numbers[user_no].append(number)
    return numbers


def _is_stored(history: CutHistory, row: Any) -> bool:
    return row is not None and (
        row.covered_sequence,
        row.last_event_us,
        row.num_chunks,
        row.recent,
    ) == (
        history.covered_sequence,
        history.last_event_us,
        history.num_chunks,
        history.recent,
    )
