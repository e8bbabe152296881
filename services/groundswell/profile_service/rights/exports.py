"""Reads everything that is held of a user or an anonymous session, page by page."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from groundswell.profile_service.store import erasures
from groundswell.profile_service.store import exports as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.serving.pseudonym import Pseudonymizer, mark_of

_EVENTS, _LISTS, _CHUNKS = 500, 50, 200
"""The rows of a page: as a message it stays below 3 MiB."""

Part = tuple[Literal["user", "events", "profile", "chunk", "lists", "erasure"], Any]
"""The kind of a part, and its row or rows; for a user of whom nothing is stored None."""


class ListWithIds(NamedTuple):
    """A row of a shown list, and the ids of its items."""

    row: Any
    item_ids: list[str]


class Exports:
    """Sends what is held of those whom callers name."""

    def __init__(self, database: Database, pseudonyms: Pseudonymizer) -> None:
        self._database = database
        self._pseudonyms = pseudonyms

    async def export(self, subject: str) -> AsyncGenerator[Part, None]:
        """Give the parts, each user before what belongs to it.

        Raises Unavailable, and FailedPrecondition (SECRET_OUTDATED).
        """
        keys = self._pseudonyms.user_keys(subject)
        marks = [mark_of(key) for key in keys]

        def begin(connection: DatabaseConnection) -> tuple[list[int], list[erasures.Tombstone]]:
            found = erasures.find_subjects(connection, keys)
            # The subject itself first, then its sessions.
            numbers = sorted((one.key not in keys, one.user_no) for one in found)
            return [number for _, number in numbers], erasures.find_tombstones(connection, marks)

        numbers, known = await self._database.read(begin)
        if not numbers:
            yield "user", None
        for user_no in numbers:
            row = await self._database.read(partial(statements.read_user, user_no=user_no))
            if row is not None:
                yield "user", row
                async for part in self._of_user(user_no):
                    yield part
        for one in {one.erasure_id: one for one in known}.values():
            yield "erasure", one

    async def _of_user(self, user_no: int) -> AsyncIterator[Part]:
        read = self._database.read
        last = 0
        after_event = partial(statements.events_after, user_no=user_no, limit=_EVENTS)
        while events := await read(partial(after_event, last=last)):
            last = events[-1].sequence
            yield "events", events
        for row in await read(partial(statements.profiles_of, user_no=user_no)):
            yield "profile", row
        place: tuple[Any, ...] | None = None
        after_chunk = partial(statements.chunks_after, user_no=user_no, limit=_CHUNKS)
        while rows := await read(partial(after_chunk, last=place)):
            place = rows[-1].fingerprint, rows[-1].chunk_length, rows[-1].chunk_no
            for row in rows:
                yield "chunk", row
        place = None
        while lists := await read(partial(_lists, user_no=user_no, last=place)):
            place = (lists[-1].row.recommendation_id,)
            yield "lists", lists


def _lists(
    connection: DatabaseConnection, user_no: int, last: tuple[Any, ...] | None
) -> Sequence[ListWithIds]:
    rows = statements.lists_after(connection, user_no, last, _LISTS)
    numbers = [np.frombuffer(row.item_nos, "<i8").tolist() for row in rows]
    ids = statements.item_ids(connection, {number for packed in numbers for number in packed})
    return [
        ListWithIds(row, [ids[number] for number in packed if number in ids])
        for row, packed in zip(rows, numbers, strict=True)
    ]
