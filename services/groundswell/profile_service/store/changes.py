"""Remembers which users and items changed lately, so that cached answers are used while right."""

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from math import inf

from sqlalchemy import Connection
from sqlalchemy.pool import ConnectionPoolEntry

_MAX_REMEMBERED = 100_000
"""Changes of users, and of items, that are remembered. What was read before an older one counts as
changed."""

USER, GONE_USER, ITEM, EVERYTHING = "u", "d", "i", "*"
"""What a change is of: a user's data, a user who was deleted, an item's text vector, or all."""

Change = tuple[str, int]
"""What changed, and its number; 0 for EVERYTHING."""


_MADE = "changes"


def changes_made(connection: Connection | ConnectionPoolEntry) -> set[Change]:
    """Return what the transaction of a connection is known to have changed so far.

    Triggers of SQLite add to it. Those of PostgreSQL report to each process a moment after the
    commit. With PostgreSQL a write therefore also adds the users it changed, so that its own
    process knows at once.
    """
    made: set[Change] = connection.info.setdefault(_MADE, set())
    return made


class _Log:
    """When each number changed last, in generations."""

    def __init__(self) -> None:
        self._at: OrderedDict[int, int] = OrderedDict()
        self._forgotten = 0
        """What was read before this generation counts as changed."""
        self._newest = 0

    def add(self, number: int, generation: int) -> None:
        self._at[number] = self._newest = generation
        self._at.move_to_end(number)
        while len(self._at) > _MAX_REMEMBERED:
            self._forgotten = self._at.popitem(last=False)[1]

    def forget(self, generation: int) -> None:
        self._at.clear()
        self._forgotten = self._newest = generation

    def unchanged(self, numbers: Iterable[int], since: int) -> bool:
        if since >= self._newest:
            return True
        at = self._at
        return since >= self._forgotten and all(at.get(n, 0) <= since for n in numbers)


class KnownChanges:
    """The changes of the database that this process has learned of.

    A generation counts them. Take `generation` before a read: what was read is right as long as
    nothing that it was made of has changed since, and the changes are `live`. SQLite has one
    writing process, whose commits are published here. PostgreSQL tells each process through a
    `ChangeFeed`. Not thread-safe: use it on the event loop alone.
    """

    def __init__(self, *, is_live: bool) -> None:
        self.generation = 1
        self.live_until = inf if is_live else -inf
        """Until when, in `time.monotonic`, all changes are certainly learned of."""
        self._users, self._gone, self._items = _Log(), _Log(), _Log()
        self._logs = {USER: self._users, GONE_USER: self._gone, ITEM: self._items}

    @property
    def live(self) -> bool:
        """Whether what was read and has not changed since may be used."""
        return time.monotonic() < self.live_until

    def publish(self, changes: Collection[Change]) -> None:
        """Record changes that were committed."""
        if not changes:
            return
        self.generation += 1
        for kind, number in changes:
            if kind == EVERYTHING:
                for log in self._logs.values():
                    log.forget(self.generation)
            else:
                self._logs[kind].add(number, self.generation)

    def may_lack_some(self) -> None:
        """Record that changes may have been missed: what was read before counts as changed."""
        self.generation += 1
        self._users.forget(self.generation)
        self._items.forget(self.generation)

    def user_unchanged(self, user_no: int, since: int) -> bool:
        """Whether certainly nothing of a user changed since a generation."""
        numbers = (user_no,)
        return self._users.unchanged(numbers, since) and self._gone.unchanged(numbers, since)

    def user_exists(self, user_no: int, since: int) -> bool:
        """Whether no deletion of a user is known since a generation, nor another lineage."""
        return self._gone.unchanged((user_no,), since)

    def items_unchanged(self, item_nos: Iterable[int], since: int) -> bool:
        """Whether certainly none of these items got another text vector since a generation."""
        return self._items.unchanged(item_nos, since)
