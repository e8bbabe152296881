"""Caches the last profile of each user, for answers while the database cannot be reached."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from groundswell.serving.bounded import BoundedCache

P = TypeVar("P")

_USER_BYTES = 350
"""The bytes of a user besides the profiles: the key, and the table by bundle."""


class LastAnswer(NamedTuple, Generic[P]):
    """A profile, and when it was read from the database."""

    profile: P
    read_us: int


class LastAnswers(Generic[P]):
    """Profiles by user and bundle, of one lineage; the least recently used users are dropped.

    `size` gives the bytes of a profile. Most of its arrays are also in the cache of `Profiles`.
    They are counted here too, since that cache may drop them.
    """

    def __init__(self, max_users: int, max_bytes: int, *, size: Callable[[P], int]) -> None:
        def user_bytes(key: bytes, answers: dict[str, LastAnswer[P]]) -> int:
            return len(key) + _USER_BYTES + sum(size(one.profile) for one in answers.values())

        self._users: BoundedCache[bytes, dict[str, LastAnswer[P]]] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_users, size=user_bytes
        )
        self._lineage = ""

    def keep(self, lineage: str, key: bytes, bundle_id: str, answer: LastAnswer[P]) -> None:
        """Remember an answer; answers of another lineage are dropped."""
        if lineage != self._lineage:
            self._users.clear()
            self._lineage = lineage
        answers = self._users.peek(key) or {}
        self._users.put(key, answers | {bundle_id: answer})

    def of_all(self, keys: Sequence[bytes], bundle_id: str) -> list[LastAnswer[P]] | None:
        """The last answers for users, in their order; None unless there is one for each."""
        found = [(self._users.peek(key) or {}).get(bundle_id) for key in keys]
        answers = [answer for answer in found if answer is not None]
        return answers if len(answers) == len(keys) else None

    def forget(self, bundle_id: str) -> None:
        """Drop the answers for a bundle that is not loaded any more."""
        for answers in self._users.values():
            answers.pop(bundle_id, None)
