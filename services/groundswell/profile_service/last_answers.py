"""The last profile that was read of each user: what is answered while the database is away."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

P = TypeVar("P")


class Answer(NamedTuple, Generic[P]):
    """A profile, and when the database said so."""

    profile: P
    read_us: int


class LastAnswers(Generic[P]):
    """Profiles by user and bundle, of one lineage of the database; who asked longest ago leaves.

    The vectors and seen items are those that are held anyway, so an answer takes little memory.
    """

    def __init__(self, max_users: int) -> None:
        self._max_users = max_users
        self._users: OrderedDict[bytes, dict[str, Answer[P]]] = OrderedDict()
        self._lineage = ""

    def keep(self, lineage: str, key: bytes, bundle_id: str, answer: Answer[P]) -> None:
        """Remember an answer; those of another lineage are forgotten."""
        if lineage != self._lineage:
            self._users.clear()
            self._lineage = lineage
        self._users.setdefault(key, {})[bundle_id] = answer
        self._users.move_to_end(key)
        while len(self._users) > self._max_users:
            self._users.popitem(last=False)

    def of_all(self, keys: Sequence[bytes], bundle_id: str) -> list[Answer[P]] | None:
        """The last answers for users, in their order; None unless there is one for each."""
        found = [self._users.get(key, {}).get(bundle_id) for key in keys]
        answers = [answer for answer in found if answer is not None]
        return answers if len(answers) == len(keys) else None

    def forget(self, bundle_id: str) -> None:
        """Drop the answers for a bundle that is not loaded any more."""
        for answers in self._users.values():
            answers.pop(bundle_id, None)
