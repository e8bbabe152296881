"""Caches the vectors that one head of a bundle gives the items of the catalogue."""

import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from groundswell.profile_service.store import items as statements
from groundswell.profile_service.store.database import DatabaseConnection
from groundswell.profile_service.store.items import ItemText

_MAX_CHANGES = 10_000
"""When more items than this changed since the last read, the whole cache is dropped."""


Encode = Callable[[Sequence[ItemText]], Awaitable[dict[int, NDArray[np.float32]]]]
"""Items → their vectors, by number."""


class ItemVectorCache:
    """The vectors of the items that were used last.

    They are valid up to a revision of the catalogue, which `follow` advances. The cache also keeps
    when items changed, so that `unchanged` can tell whether a result computed from them is still
    valid. Thread-safe: transactions run in threads.
    """

    def __init__(self, encode: Encode, fingerprint: str, max_held: int) -> None:
        self._encode = encode
        self._fingerprint = fingerprint
        self._max_held = max_held
        self._held: dict[int, NDArray[np.float32]] = {}
        self._lineage = ""
        self._revision = 0
        self._changed: dict[int, int] = {}
        self._changed_since = 0
        """Changes up to this revision are not remembered."""
        self._lock = threading.Lock()

    def follow(self, connection: DatabaseConnection, revision: int, lineage: str) -> None:
        """Forget the items that changed up to a revision, the one that the connection sees.

        With another lineage everything is dropped: its numbers may name other items.
        """
        with self._lock:
            if lineage != self._lineage:
                self._lineage, self._revision, self._changed_since = lineage, 0, revision
                self._held.clear()
                self._changed.clear()
            known = self._revision
        if revision <= known:
            return
        changes = statements.revisions_since(connection, known, _MAX_CHANGES + 1) if known else []
        with self._lock:
            if lineage == self._lineage:  # else another call has moved on to it
                self._forget(changes, known, revision)

    def _forget(self, changes: Sequence[tuple[int, int]], known: int, revision: int) -> None:
        """Forget the items that changed from a known revision to another one."""
        if not known or len(changes) > _MAX_CHANGES or len(self._changed) > self._max_held:
            self._held.clear()
            self._changed.clear()
            self._changed_since = revision
        for item_no, changed_at in changes:
            self._held.pop(item_no, None)
            self._changed[item_no] = max(changed_at, self._changed.get(item_no, 0))
        self._revision = max(self._revision, revision)

    def unchanged(self, item_nos: Iterable[int], since: int, lineage: str) -> bool:
        """Whether certainly none of these items changed after a revision of a lineage."""
        with self._lock:
            if lineage != self._lineage or since < self._changed_since:
                return False
            if since >= self._revision:
                return True
            return all(self._changed.get(item_no, 0) <= since for item_no in item_nos)

    def load(
        self, connection: DatabaseConnection, item_nos: Set[int], lineage: str
    ) -> tuple[dict[int, NDArray[np.float32]], list[ItemText]]:
        """Return the cached vectors by number, and the texts of the items without one."""
        with self._lock:
            known = self._held if lineage == self._lineage else {}
            held = {n: known[n] for n in item_nos if n in known}
        missing = item_nos - held.keys()
        if not missing:
            return held, []
        return held, statements.item_texts_by_number(connection, missing, self._fingerprint)

    async def encode(
        self, texts: Sequence[ItemText], revision: int, lineage: str
    ) -> dict[int, NDArray[np.float32]]:
        """Compute the vectors of items that were loaded at a revision of a lineage, and cache them.

        Returns them by number.
        """
        vectors = await self._encode(texts)
        with self._lock:
            # Items that were loaded before the newest `follow` may have changed since.
            if lineage == self._lineage and revision >= self._revision:
                self._held |= vectors
                while len(self._held) > self._max_held:
                    del self._held[next(iter(self._held))]
        return vectors
