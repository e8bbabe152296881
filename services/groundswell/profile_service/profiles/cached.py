"""A user's profile, and how it is held in memory between calls."""

from dataclasses import dataclass
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
    sequences: NDArray[np.int64]
    """[n] the sequence of each item's newest event or one after it, ascending."""

    def after(self, sequence: int) -> "SeenItems":
        """Return the items with an event after a sequence."""
        first = int(np.searchsorted(self.sequences, sequence, side="right"))
        return SeenItems(self.item_nos[first:], self.action_masks[first:], self.sequences[first:])


class Vector(NamedTuple):
    """A long-term vector, the items that it was made of, and when the newest event happened."""

    vector: NDArray[np.float32] | None
    item_nos: NDArray[np.int64]
    """[m] each once."""
    last_event_us: int | None


@dataclass(slots=True)
class KeptAnswer:
    """The answer to callers who hold a profile's seen items, serialized for the first of them."""

    message: bytes = b""


class Profile(NamedTuple):
    """The long-term profile of one user."""

    vector: NDArray[np.float32] | None
    last_sequence: int
    last_event_us: int | None
    covered_us: int | None
    seen: SeenItems
    """Complete up to `last_sequence`."""
    lineage: str = ""
    """The lineage of the database that `last_sequence` and the seen items belong to."""
    history: int = 0
    """The user's history, new when an expired session comes back; 0 without events."""
    text_pending: bool = False
    """Whether text of the history waits for the encoder."""
    as_of_us: int | None = None
    """When this was read, if it is from memory because the database did not answer; else None."""
    kept_answer: KeptAnswer | None = None
    """None: the answer is not kept."""
    pruned_sequence: int = 0
    """Versions up to it hold events that were deleted since."""
    num_events: int = 0
    """How many events are stored: fewer than `last_sequence` when some have left."""

    def sequence_of(self, version: int) -> int | None:
        """Return the last sequence that a version of the seen items covers.

        None for another history's, and for one with events that were deleted since.
        """
        history, sequence = divmod(version, _HISTORY)
        is_right = history == self.history and not 0 < sequence <= self.pruned_sequence
        return sequence if is_right else None

    @property
    def version(self) -> int:
        """The version of the seen items."""
        return self.history * _HISTORY + self.last_sequence


_HISTORY = 2**32
"""Above every sequence."""
NO_ITEMS = np.empty(0, np.int64)
NO_VECTOR = Vector(None, NO_ITEMS, None)
NOTHING_SEEN = SeenItems(NO_ITEMS, np.empty(0, np.uint32), NO_ITEMS)
UNKNOWN_USER = 0
"""Stands for the number of a user who is not stored."""
# The bytes of a user besides the values in the arrays, with those of an answer but its vector.
_USER_BYTES = 1_300 + 5 * ARRAY_BYTES


@dataclass(slots=True)
class HeldProfile:
    """A profile as it was read last, and what it was made of."""

    profile: Profile
    user_no: int
    """UNKNOWN_USER: none."""
    item_nos: NDArray[np.int64]
    """[m] the items whose vectors the head read, each once."""
    generation: int
    """It was right at this generation of the database's changes."""
    read_us: int

    @property
    def of_vector(self) -> Vector:
        """The vector, and what it was made of."""
        return Vector(self.profile.vector, self.item_nos, self.profile.last_event_us)


def held_bytes(_key: tuple[bytes, str], held: HeldProfile) -> int:
    """Return the bytes that a held profile takes, with its key and the answer that may be kept."""
    vector = 0 if held.profile.vector is None else held.profile.vector.nbytes
    seen = sum(array.nbytes for array in held.profile.seen)
    return _USER_BYTES + 2 * vector + seen + held.item_nos.nbytes


def with_actions(seen: SeenItems, last_sequence: int, actions: NDArray[np.int64]) -> SeenItems:
    """Add actions [m, 2] (item_no, action) of newer events, in order, up to a user's last sequence.

    They count down from there, as if no sequence was missing: no event gets a sequence below its
    own, so none is missing after a version.
    """
    if not len(actions):
        return seen
    newest_first = np.concatenate([seen.item_nos, actions[:, 0]])[::-1]
    new = np.arange(last_sequence - len(actions), last_sequence) + 1
    sequences = np.concatenate([seen.sequences, new])[::-1]
    item_nos, newest, places = np.unique(newest_first, return_index=True, return_inverse=True)
    masks = np.zeros(len(item_nos), np.uint32)
    bits = np.left_shift(np.uint32(1), actions[:, 1].astype(np.uint32))
    np.bitwise_or.at(masks, places, np.concatenate([seen.action_masks, bits])[::-1])
    order = np.argsort(-newest)
    return SeenItems(item_nos[order], masks[order], sequences[newest[order]])
