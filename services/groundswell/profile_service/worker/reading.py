"""Reads users' histories from the log, from where their profiles have to be made again."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from groundswell.profile_service.store import events as event_statements
from groundswell.profile_service.store import profiles as statements
from groundswell.profile_service.store.database import DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.visitors import num_gone
from groundswell.profile_service.worker.histories import (
    Covered,
    Start,
    Stored,
    pass_over,
    start_of,
    whole,
)

READ_TIMEOUT_S = 600.0
"""The longest time that reading one user's history may take."""


class ReadHistories(NamedTuple):
    """What `cut` needs of some users, and what is stored of them."""

    starts: dict[int, Start]
    stored: Stored
    events: Sequence[Any]
    """As `store.events.events_from` gives them."""


class HistoryReader:
    """Reads histories for one text encoder and one profile head."""

    def __init__(self, spec: Spec, max_chunks: int) -> None:
        """Take the most chunks of a history that the head reads."""
        self._spec = spec
        self._max_chunks = max_chunks

    def starts(
        self, connection: DatabaseConnection, user_nos: Collection[int]
    ) -> tuple[dict[int, Start], Stored]:
        """Find from where each history has to be cut again, and which chunks of it are stored."""
        known = statements.find_profiles(connection, user_nos, self._spec)
        chunks = statements.stored_chunks(connection, user_nos, self._spec)
        gone = num_gone(connection, user_nos)
        covered = {n: Covered(0, None, gone.get(n, 0)) for n in user_nos} | {
            n: Covered(row.covered_sequence, row.recent, gone.get(n, 0)) for n, row in known.items()
        }
        newer = event_statements.newer_events(
            connection, {n: c.sequence for n, c in covered.items()}
        )
        length = self._spec.chunk_length
        starts = {n: start_of(chunks[n], c, newer.get(n), length) for n, c in covered.items()}
        return self._passing_over(connection, starts), _contents(chunks)

    def read(self, connection: DatabaseConnection, user_nos: Collection[int]) -> ReadHistories:
        """Read where each history has to be cut, the stored chunks, and the events from there."""
        starts, stored = self.starts(connection, user_nos)
        return ReadHistories(starts, stored, _events(connection, starts))

    def read_anew(
        self, connection: DatabaseConnection, sequences: Mapping[int, int]
    ) -> tuple[dict[int, Start], Sequence[Any]]:
        """Read the start and the events of histories as if nothing was stored of them.

        The newest sequence of each user is given.
        """
        gone = num_gone(connection, sequences)
        starts = {n: whole(sequence, gone.get(n, 0)) for n, sequence in sequences.items()}
        starts = self._passing_over(connection, starts)
        return starts, _events(connection, starts)

    def stored(self, connection: DatabaseConnection, user_nos: Collection[int]) -> Stored:
        """Read which chunks are stored."""
        return _contents(statements.stored_chunks(connection, user_nos, self._spec))

    def _passing_over(
        self, connection: DatabaseConnection, starts: Mapping[int, Start]
    ) -> dict[int, Start]:
        before = partial(event_statements.place_before, connection)
        return {
            n: pass_over(start, self._spec, self._max_chunks, partial(before, n))
            for n, start in starts.items()
        }


def _contents(chunks: Mapping[int, Sequence[Any]]) -> Stored:
    return {
        (n, c.chunk_no): (c.content_hash, (c.last_time_us, c.last_ordinal, c.last_event_id))
        for n, own in chunks.items()
        for c in own
    }


def _events(connection: DatabaseConnection, starts: Mapping[int, Start]) -> Sequence[Any]:
    places = {n: start.place for n, start in starts.items()}
    return event_statements.events_from(connection, places)
