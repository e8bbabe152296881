"""Encodes the histories of stale users for the worker."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from groundswell.profile_service.store import profiles as statements
from groundswell.profile_service.store.coverage import covered_sequences
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.tables import stale_users
from groundswell.profile_service.store.work import Claim, WorkList
from groundswell.profile_service.worker.encoder_thread import EncoderThread
from groundswell.profile_service.worker.histories import Chunk, CutHistory, Start, cut, new_chunks
from groundswell.profile_service.worker.profile_rows import chunk_row, profile_row
from groundswell.profile_service.worker.reading import READ_TIMEOUT_S, HistoryReader
from groundswell.serving.telemetry import count

_EVENT_TOKENS = 8
"""A chunk of 16 titles has about 130."""
PART_EVENTS = 10_000
"""Events that are read at once; one user alone may have more."""
MAX_CHUNKS = 2_048
"""Chunks of one user that are encoded before other users get their turn."""
_STORED_AT_ONCE = 32
"""Users whose profiles are stored in one transaction: until it ends, their new events wait."""


class EncodeUsers:
    """Encodes the chunks of claimed users' histories, and stores their newest events."""

    least_tokens = 64

    def __init__(
        self, database: Database, encoding: EncoderThread, spec: Spec, max_chunks: int
    ) -> None:
        """Take the most chunks of a history that a head reads."""
        self.stale = WorkList(stale_users)
        self._database = database
        self._encoding = encoding
        self._spec = spec
        self._reader = HistoryReader(spec, max_chunks)

    def tokens(self, connection: DatabaseConnection, versions: Mapping[int, int]) -> dict[int, int]:
        """Estimate the tokens of each user's new chunks; late events change earlier ones too."""
        covered = covered_sequences(connection, versions, self._spec)
        return {
            # A user's version is the number of all its events.
            user_no: self.least_tokens + _EVENT_TOKENS * max(version - covered.get(user_no, 0), 0)
            for user_no, version in versions.items()
        }

    async def parts(self, claim: Claim) -> list[Claim]:
        """Split a claim into parts with few events to read, the smallest histories first.

        A user with a very long history is alone in the last part.
        """
        if sum(claim.versions.values()) <= PART_EVENTS:
            return [claim]
        read = self._database.read(
            lambda c: self._reader.starts(c, list(claim.versions)), timeout_s=READ_TIMEOUT_S
        )
        starts, _ = await read
        parts: list[list[int]] = [[]]
        num_events = 0
        for cost, user_no in sorted((_cost(s, self._spec), user) for user, s in starts.items()):
            if parts[-1] and num_events + cost > PART_EVENTS:
                parts.append([])
                num_events = 0
            parts[-1].append(user_no)
            num_events += cost
        return [claim.only(part) for part in parts]

    async def encode(self, claim: Claim) -> None:
        """Encode the new chunks of the claimed users' histories, and store the profiles."""
        await self._cover(claim, ends=True)

    async def cover(self, claim: Claim) -> dict[int, int] | None:
        """Do the same without ending the claim; return the version that each user is covered to.

        None: only a part of a long history was encoded, and the claim was released.
        """
        return await self._cover(claim, ends=False)

    async def works(self) -> bool:
        """Whether the encoder can encode a simple text."""
        return await self._encoding.works()

    async def _cover(self, claim: Claim, *, ends: bool) -> dict[int, int] | None:
        starts, stored, events = await self._database.read(
            lambda c: self._reader.read(c, list(claim.versions)), timeout_s=READ_TIMEOUT_S
        )
        # Texts and hashes of many chunks take longer than the event loop should wait.
        histories = await asyncio.to_thread(cut, events, starts, self._spec)
        new = new_chunks(histories, stored)
        if len(histories) == 1 and len(new) > MAX_CHUNKS:
            rows = await encode_chunks(self._encoding, self._spec, new[:MAX_CHUNKS])
            await self._database.write(lambda c: self._store_some(c, claim, rows))
            return None
        rows = await encode_chunks(self._encoding, self._spec, new)
        covered: dict[int, int] = {}
        users = list(claim.versions)
        for begin in range(0, len(users), _STORED_AT_ONCE):
            part = claim.only(users[begin : begin + _STORED_AT_ONCE])
            store = partial(self._store, claim=part, own=histories, rows=rows, ends=ends)
            covered |= await self._database.write(store)
        return covered

    def _store(
        self,
        connection: DatabaseConnection,
        claim: Claim,
        own: list[CutHistory],
        rows: list[dict[str, Any]],
        *,
        ends: bool,
    ) -> dict[int, int]:
        held = self.stale.still_held(connection, claim, claim.versions)
        own = [history for history in own if history.user_no in held]
        for history in own:
            if history.outdated:
                statements.drop_chunks(connection, history.user_no, self._spec, history.outdated)
        statements.put_chunks(connection, [row for row in rows if row["user_no"] in held])
        profiles = [profile_row(history, self._spec) for history in own]
        statements.put_profiles(connection, profiles)
        covered = {h.user_no: h.covered_sequence for h in own}
        if ends:
            self.stale.finish(connection, claim, covered)
        return covered

    def _store_some(
        self, connection: DatabaseConnection, claim: Claim, rows: list[dict[str, Any]]
    ) -> None:
        """Store some chunks of a long history; the next claim goes on after them."""
        if self.stale.still_held(connection, claim, claim.versions):
            statements.put_chunks(connection, rows)
            self.stale.release(connection, claim, 0.0, counts=False)


async def encode_chunks(
    encoding: EncoderThread, spec: Spec, new: Sequence[tuple[int, Chunk]]
) -> list[dict[str, Any]]:
    """Encode chunks, each with its user, and return their rows."""
    encoded = await encoding.encode([chunk.text for _, chunk in new])
    count("chunks_encoded", amount=len(new))
    return [
        chunk_row(user_no, spec, chunk, vector)
        for (user_no, chunk), vector in zip(new, encoded, strict=True)
    ]


def _cost(start: Start, spec: Spec) -> int:
    return start.covered_sequence - start.num_chunks * spec.chunk_length
