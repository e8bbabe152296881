"""The items that users have seen, kept by the version that the profile service gave them."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.profile.v1.profile_service_pb2 import SeenItems
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import unpack_int64, unpack_uint32


class Seen(NamedTuple):
    """What one user has seen, as of a version."""

    version: int
    item_nos: NDArray[np.int64]
    """The items that the user did a counting action with."""
    history: NDArray[np.int64]
    """The items that the user did anything with, each once; those of `item_nos` come first."""


def counting_first(
    item_nos: bytes, action_masks: bytes, counting: int
) -> tuple[NDArray[np.int64], int]:
    """Return the items of packed lists, those whose actions share a bit with `counting` first.

    The second value is how many those are; else the order stays. Raises InvalidArgument
    (PACKED_INVALID) for lists that do not fit each other.
    """
    numbers, masks = unpack_int64(item_nos), unpack_uint32(action_masks)
    if len(numbers) != len(masks):
        raise InvalidArgument("PACKED_INVALID", f"{len(numbers)} items have {len(masks)} masks")
    counted = (masks & np.uint32(counting)) != 0
    ordered = np.concatenate([numbers[counted], numbers[~counted]])
    return ordered, int(np.count_nonzero(counted))


class SeenCache:
    """Seen items by the user's pseudonym; the users who asked longest ago leave first."""

    def __init__(self, counting: int, max_items: int) -> None:
        self._counting = counting
        self._max_items = max_items
        self._num_items = 0
        self._users: OrderedDict[bytes, Seen] = OrderedDict()

    def get(self, user_key: bytes) -> Seen | None:
        """Return what is held of a user."""
        return self._users.get(user_key)

    def counting(self, item_nos: bytes, action_masks: bytes) -> NDArray[np.int64]:
        """Return the items of packed lists that count as seen."""
        ordered, num_counting = counting_first(item_nos, action_masks, self._counting)
        return ordered[:num_counting]

    def take(self, user_key: bytes, answer: SeenItems, named: Seen | None) -> Seen | None:
        """Return what an answer says that a user has seen, and keep it.

        `named` is what was held when the version in the request was named. None when the answer
        leaves out what this cache does not hold.
        """
        if answer.version == 0:
            nothing: NDArray[np.int64] = np.empty(0, np.int64)
            return Seen(0, nothing, nothing)
        if not answer.included:
            count("seen_items", source="held")
            if named is None or named.version != answer.version:
                return None
            seen = named
        else:
            count("seen_items", source="given")
            history, num_counting = counting_first(
                answer.item_nos, answer.action_masks, self._counting
            )
            seen = Seen(answer.version, history[:num_counting], history)
        self._keep(user_key, seen)
        return seen

    def _keep(self, user_key: bytes, seen: Seen) -> None:
        held = self._users.pop(user_key, None)
        self._num_items += _cost(seen) - (_cost(held) if held is not None else 0)
        self._users[user_key] = seen
        while self._num_items > self._max_items:
            _, dropped = self._users.popitem(last=False)
            self._num_items -= _cost(dropped)


def _cost(seen: Seen) -> int:
    """Count a user without items too: the entry itself takes memory."""
    return len(seen.history) + 16
