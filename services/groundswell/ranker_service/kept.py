"""The last answers of a service about users, for calls that the service does not answer."""

from collections.abc import Collection
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.replicas import BundleSpace
from groundswell.serving.bounded import BoundedCache


class Answer(Protocol):
    """What a service knew of a user."""

    @property
    def vector(self) -> NDArray[np.float32] | None:
        """[d]"""

    @property
    def lineage(self) -> str:
        """That of the database that the item numbers belong to."""

    @property
    def num_bytes(self) -> int:
        """The memory that it takes."""


A = TypeVar("A", bound=Answer)

_MOST_BYTES_SENT = 4_000
"""Longer answers are read again when they come again."""


class KeptAnswers(Generic[A]):
    """The last answer about each user for each bundle; those used longest ago leave first."""

    def __init__(self, max_bytes: int) -> None:
        self._answers: BoundedCache[tuple[bytes, str], tuple[A, bytes]] = BoundedCache(
            max_bytes=max_bytes,
            max_entries=max(max_bytes, 1),
            size=lambda key, kept: len(key[0]) + kept[0].num_bytes + len(kept[1]),
        )

    def put(self, user_mark: bytes, space: BundleSpace, answer: A, sent: bytes = b"") -> None:
        """Keep an answer in the place of the one before it, and the bytes that it was read from."""
        sent = sent if len(sent) <= _MOST_BYTES_SENT else b""
        self._answers.put((user_mark, space.bundle_id), (answer, sent))

    def read_from(self, sent: bytes, user_mark: bytes, space: BundleSpace) -> A | None:
        """Return the answer that is kept if it was read from the same bytes, for the same items:
        while nothing of a user changes, the service sends the same again."""
        kept, read_of = self._answers.get((user_mark, space.bundle_id)) or (None, b"")
        if kept is None or not sent or read_of != sent or kept.lineage not in ("", space.lineage):
            return None
        return kept

    def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the answers about users."""
        self._answers.drop_where(lambda key: key[0] in user_marks)

    def get(self, user_mark: bytes, space: BundleSpace) -> A | None:
        """Return the answer that is kept; None for one without a vector, and when its item numbers
        do not name the same items any more."""
        kept, _ = self._answers.get((user_mark, space.bundle_id)) or (None, b"")
        if kept is None or kept.vector is None or kept.lineage not in ("", space.lineage):
            return None
        return kept
