"""The last answers about users: for a service that is down, and to read the same bytes once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.kept import KeptAnswers
from groundswell.ranker_service.replicas import BundleSpace

SPACE = BundleSpace("a", 4, lineage="now")
USER = b"u"


class Answer(NamedTuple):
    vector: NDArray[np.float32] | None = None
    lineage: str = "now"
    num_bytes: int = 10


def test_the_same_bytes_give_what_was_read_of_them() -> None:
    kept: KeptAnswers[Answer] = KeptAnswers(100_000)
    answer = Answer()
    kept.put(USER, SPACE, answer, b"sent")
    assert kept.read_from(b"sent", USER, SPACE) is answer
    assert kept.read_from(b"other", USER, SPACE) is None
    assert kept.read_from(b"sent", b"v", SPACE) is None
    assert kept.read_from(b"sent", USER, BundleSpace("b", 4, lineage="now")) is None
    # After a restore of the database its numbers may name other items.
    assert kept.read_from(b"sent", USER, BundleSpace("a", 4, lineage="restored")) is None


def test_what_was_read_of_no_bytes_or_of_many_is_read_again() -> None:
    kept: KeptAnswers[Answer] = KeptAnswers(100_000)
    for sent in (b"", bytes(5_000)):
        kept.put(USER, SPACE, Answer(), sent)
        assert kept.read_from(sent, USER, SPACE) is None
        assert kept.read_from(b"", USER, SPACE) is None
