"""The last answers of a service about users, for calls that the service does not answer."""

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


class KeptAnswers(Generic[A]):
    """The last answer about each user for each bundle; those used longest ago leave first."""

    def __init__(self, max_bytes: int) -> None:
        self._answers: BoundedCache[tuple[bytes, str], A] = BoundedCache(
            max_bytes=max_bytes,
            max_entries=max(max_bytes, 1),
            size=lambda key, answer: len(key[0]) + answer.num_bytes,
        )

    def put(self, user_key: bytes, space: BundleSpace, answer: A) -> None:
        """Keep an answer in the place of the one before it."""
        self._answers.put((user_key, space.bundle_id), answer)

    def get(self, user_key: bytes, space: BundleSpace) -> A | None:
        """Return the answer that is kept; None for one without a vector, and when its item numbers
        do not name the same items any more."""
        kept = self._answers.get((user_key, space.bundle_id))
        if kept is None or kept.vector is None or kept.lineage not in ("", space.lineage):
            return None
        return kept
