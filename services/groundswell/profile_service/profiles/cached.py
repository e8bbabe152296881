"""A user's profile, the data that is cached between reads, and the bytes that both take."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.serving.bounded import ARRAY_BYTES


class SeenItems(NamedTuple):
    """Which items a user acted on, and how."""

    item_nos: NDArray[np.int64]
    """[n] each once, by its newest event, oldest first."""
    action_masks: NDArray[np.uint32]
    """[n] bit k is set when the user did action number k."""


class Profile(NamedTuple):
    """The long-term profile of one user."""

    vector: NDArray[np.float32] | None
    num_covered_events: int
    num_events: int
    last_event_us: int | None
    covered_us: int | None
    seen: SeenItems
    """Complete up to `num_events`."""
    lineage: str = ""
    """The lineage of the database that `num_events` and the seen items belong to."""
    as_of_us: int | None = None
    """When this was read, if it is from memory because the database did not answer; else None."""


NOTHING_SEEN = SeenItems(np.empty(0, np.int64), np.empty(0, np.uint32))
# The bytes of a user, and of one of their vectors, besides the values in the arrays.
_USER_BYTES = 300 + 2 * ARRAY_BYTES
_VECTOR_BYTES = 500 + 3 * ARRAY_BYTES
UNKNOWN = Profile(None, 0, 0, None, None, NOTHING_SEEN)


class CachedVector(NamedTuple):
    """A cached vector, and the state that it was computed from."""

    covered_us: int
    """The profile's `covered_us`."""
    revision: int
    """The catalogue's revision."""
    item_nos: NDArray[np.int64]
    """The items of the newest events, whose vectors the head read."""
    vector: NDArray[np.float32]


@dataclass(slots=True)
class CachedUser:
    """The data of one user that is cached between reads."""

    seen_sequence: int = 0
    seen: SeenItems = NOTHING_SEEN
    vectors: dict[str, CachedVector] = field(default_factory=dict)
    """By bundle id."""


def cached_bytes(_key: bytes, held: CachedUser) -> int:
    vectors = sum(
        _VECTOR_BYTES + one.item_nos.nbytes + one.vector.nbytes for one in held.vectors.values()
    )
    seen = held.seen.item_nos.nbytes + held.seen.action_masks.nbytes
    return _USER_BYTES + seen + vectors


def profile_bytes(profile: Profile) -> int:
    vector = 0 if profile.vector is None else profile.vector.nbytes
    return _VECTOR_BYTES + vector + profile.seen.item_nos.nbytes + profile.seen.action_masks.nbytes


def with_actions(seen: SeenItems, actions: Sequence[tuple[int, int]]) -> SeenItems:
    """Add (item_no, action) pairs to what was seen."""
    if not actions:
        return seen
    added = np.array(actions, np.int64)
    newest_first = np.concatenate([seen.item_nos, added[:, 0]])[::-1]
    item_nos, newest, places = np.unique(newest_first, return_index=True, return_inverse=True)
    masks = np.zeros(len(item_nos), np.uint32)
    bits = np.left_shift(np.uint32(1), added[:, 1].astype(np.uint32))
    np.bitwise_or.at(masks, places, np.concatenate([seen.action_masks, bits])[::-1])
    order = np.argsort(-newest)
    return SeenItems(item_nos[order], masks[order])
