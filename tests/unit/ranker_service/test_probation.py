"""A bundle leaves when far more of its answers are bad than of the bundle before it."""

import pytest

from groundswell.ranker.v1.ranker_service_pb2 import Degradation
from groundswell.ranker_service.probation import EMPTY, FAILED, Probation, badness


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def probation(clock: Clock) -> Probation:
    made = Probation(60.0, clock)
    made.begin("old")
    return made


def noted(probation: Probation, bundle_id: str, bad: str, times: int) -> list[str]:
    problems = (probation.note(bundle_id, bad) for _ in range(times))
    return [problem for problem in problems if problem]


def test_the_first_bundle_has_none_to_go_back_to(probation: Probation) -> None:
    assert noted(probation, "old", FAILED, 100) == []


def test_a_new_bundle_leaves_after_some_bad_answers(probation: Probation) -> None:
    noted(probation, "old", "", 100)
    probation.begin("new")
    noted(probation, "new", "", 20)
    assert noted(probation, "new", FAILED, 9) == []
    [problem] = noted(probation, "new", FAILED, 1)
    assert problem == "33% of 30 answers were bad (10 failed), 0% before it"


def test_what_was_as_bad_before_is_not_the_new_bundles_fault(probation: Probation) -> None:
    for _ in range(100):
        noted(probation, "old", "", 1)
        noted(probation, "old", EMPTY, 1)
    probation.begin("new")
    for _ in range(100):
        noted(probation, "new", "", 1)
        assert noted(probation, "new", EMPTY, 1) == []


def test_other_bundles_and_later_answers_do_not_count(probation: Probation, clock: Clock) -> None:
    probation.begin("new")
    assert noted(probation, "old", FAILED, 100) == []
    clock.now += 61
    assert noted(probation, "new", FAILED, 100) == []
    probation.end("old")
    assert noted(probation, "old", FAILED, 100) == []


def test_only_what_a_bundle_may_cause_is_bad() -> None:
    lacks = [Degradation.DEGRADATION_SESSION_UNAVAILABLE]
    assert badness(lacks, is_empty=False) == "without the short-term vector"
    assert badness([Degradation.DEGRADATION_USER_UNKNOWN], is_empty=False) == ""
    assert badness((), is_empty=True) == EMPTY
