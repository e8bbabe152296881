"""A cache of the items that users interacted with, by the version of the profile service."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.actions import DISLIKE
from groundswell.profile.v1.profile_service_pb2 import SeenItems
from groundswell.serving.bounded import ARRAY_BYTES, BoundedCache
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import unpack_int64, unpack_uint32

_USER_BYTES = 300
"""The bytes of a user besides the arrays: key, version, lineage, and the objects."""


class UserItems(NamedTuple):
    """The items that a user interacted with, as of a version."""

    version: int
    seen: NDArray[np.int64]
    """[n] the items that count as seen, by their actions."""
    history: NDArray[np.int64]
    """[m] the items that the user did not only dislike, ordered by most recent interaction, oldest
    first. Their neighbours are looked up."""
    is_complete: bool = True
    """False when only the newest of very many items are known."""
    lineage: str = ""
    """The lineage of the database that the version and the item numbers belong to."""


class Packed(NamedTuple):
    """Items and what was done with them."""

    item_nos: NDArray[np.int64]
    """[n]"""
    masks: NDArray[np.uint32]
    """[n] one bit for each action: 1 << its number."""

    @property
    def is_only_disliked(self) -> NDArray[np.bool_]:
        """[n]"""
        found: NDArray[np.bool_] = self.masks == np.uint32(1 << DISLIKE)
        return found

    def shares(self, actions: int) -> NDArray[np.bool_]:
        """[n] True where an action of a mask is among them."""
        found: NDArray[np.bool_] = (self.masks & np.uint32(actions)) != 0
        return found

    def window(self) -> NDArray[np.int64]:
        """[n] the items of events; a dislike keeps its place, and names none: -1."""
        return np.where(self.is_only_disliked, -1, self.item_nos)


def unpacked(item_nos: bytes, action_masks: bytes) -> Packed:
    """Read packed lists. Raises InvalidArgument (PACKED_INVALID) where they do not fit."""
    numbers, masks = unpack_int64(item_nos), unpack_uint32(action_masks)
    if len(numbers) != len(masks):
        raise InvalidArgument("PACKED_INVALID", f"{len(numbers)} items have {len(masks)} masks")
    return Packed(numbers, masks)


class SeenCache:
    """The items of users by their pseudonyms; the users who asked longest ago leave first.

    `counting` has a bit for each action that makes an item count as seen: 1 << its number.
    """

    def __init__(self, counting: int, *, max_bytes: int, max_users: int) -> None:
        self._counting = counting
        self._users: BoundedCache[bytes, UserItems] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_users, size=_num_bytes
        )

    def get(self, user_mark: bytes) -> UserItems | None:
        """Return what is held of a user."""
        return self._users.get(user_mark)

    def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the items of users."""
        self._users.drop_where(lambda user_mark: user_mark in user_marks)

    def counting(self, packed: Packed) -> NDArray[np.int64]:
        """Return the items that count as seen."""
        return packed.item_nos[packed.shares(self._counting)]

    def take(
        self, user_mark: bytes, answer: SeenItems, named: UserItems | None
    ) -> UserItems | None:
        """Return the items of a user that an answer names, and keep them.

        `named` is what was held when the version in the request was named. None when the answer
        leaves out what this cache does not hold.
        """
        if answer.version == 0:
            nothing: NDArray[np.int64] = np.empty(0, np.int64)
            return UserItems(0, nothing, nothing, lineage=answer.lineage)
        if not answer.included:
            count("seen_items", source="held")
            if named is None or (named.version, named.lineage) != (answer.version, answer.lineage):
                return None
            items = named
        elif answer.since_version:
            count("seen_items", source="added")
            if named is None or (named.version, named.lineage) != (
                answer.since_version,
                answer.lineage,
            ):
                return None
            items = _joined(named, self._read(answer), unpack_int64(answer.item_nos))
        else:
            count("seen_items", source="given")
            items = self._read(answer)
        self._users.put(user_mark, items)
        return items

    def _read(self, answer: SeenItems) -> UserItems:
        packed = unpacked(answer.item_nos, answer.action_masks)
        return UserItems(
            version=answer.version,
            seen=self.counting(packed),
            history=packed.item_nos[~packed.is_only_disliked],
            is_complete=not answer.truncated,
            lineage=answer.lineage,
        )


def _joined(held: UserItems, newer: UserItems, changed: NDArray[np.int64]) -> UserItems:
    """Put the newer entries of some items in the place of what is held of them."""
    seen, history = (
        np.concatenate([old[~np.isin(old, changed)], new])
        for old, new in ((held.seen, newer.seen), (held.history, newer.history))
    )
    return newer._replace(seen=seen, history=history, is_complete=held.is_complete)


def _num_bytes(user_mark: bytes, items: UserItems) -> int:
    return _USER_BYTES + len(user_mark) + items.seen.nbytes + items.history.nbytes + 2 * ARRAY_BYTES
