"""A claim ends once every encoder has read it, at the lowest version that any of them covers."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.work import Claim, WorkList
from groundswell.profile_service.worker.every_encoder import EveryEncoder
from groundswell.serving.errors import Unavailable

SERVED, BESIDE = Spec("served", 4), Spec("beside", 4)
CLAIM = Claim("me", {1: 5, 2: 7}, {1: 1, 2: 1})


class Finished(WorkList):
    """Remembers what is taken off the list."""

    def __init__(self) -> None:
        self.finished: list[dict[int, int]] = []
        self.released: tuple[list[int], bool] | None = None

    def finish(self, connection: Any, claim: Claim, covered: Any) -> None:  # noqa: ARG002
        self.finished.append(dict(covered))

    def release(self, connection: Any, claim: Claim, delay_s: float, *, counts: bool) -> None:  # noqa: ARG002
        self.released = (list(claim.versions), counts)


class Work:
    def __init__(self, stale: Finished, covered: dict[int, int] | Exception | None) -> None:
        self.stale = stale
        self.covered = covered
        self.has_a_working_encoder = True
        self.num_covers = 0

    least_tokens = 5

    def tokens(self, connection: Any, versions: Any) -> dict[int, int]:  # noqa: ARG002
        return dict.fromkeys(versions, 5)

    async def parts(self, claim: Claim) -> list[Claim]:
        return [claim.only([subject]) for subject in claim.versions]

    async def encode(self, claim: Claim) -> None:  # noqa: ARG002
        raise AssertionError("with two encoders neither ends the claim by itself")

    async def cover(self, claim: Claim) -> dict[int, int] | None:  # noqa: ARG002
        self.num_covers += 1
        if isinstance(self.covered, Exception):
            raise self.covered
        return self.covered

    async def works(self) -> bool:
        return self.has_a_working_encoder


class NoDatabase:
    async def write(self, work: Callable[[DatabaseConnection], None]) -> None:
        work(cast(DatabaseConnection, None))


def joint(served: Work, beside: Work) -> EveryEncoder:
    work = EveryEncoder(cast(Database, NoDatabase()), served.stale, 10)
    work.join(SERVED, served)
    work.join(BESIDE, beside)
    return work


@pytest.fixture
def stale() -> Finished:
    return Finished()


async def test_what_came_between_two_readings_stays_on_the_list(stale: Finished) -> None:
    work = joint(Work(stale, {1: 6, 2: 7}), Work(stale, {1: 5, 2: 7}))
    await work.encode(CLAIM)
    assert stale.finished == [{1: 5, 2: 7}]


@pytest.mark.parametrize("partial", ["served", "beside"])
async def test_a_part_of_a_long_history_ends_nothing(stale: Finished, partial: str) -> None:
    whole, part = Work(stale, {1: 5, 2: 7}), Work(stale, None)
    await joint(*((part, whole) if partial == "served" else (whole, part))).encode(CLAIM)
    assert stale.finished == []


async def test_an_encoder_beside_that_reads_nothing_keeps_nobody_waiting(stale: Finished) -> None:
    broken = Work(stale, RuntimeError("out of memory"))
    broken.has_a_working_encoder = False
    work = joint(Work(stale, {1: 5}), broken)
    await work.encode(CLAIM.only([1]))
    assert stale.finished == [{1: 5}]


@pytest.mark.parametrize("error", [RuntimeError("poison"), Unavailable("X", "away")])
async def test_other_failures_beside_are_tried_again_after_the_served_one_has_read(
    stale: Finished, error: Exception
) -> None:
    served = Work(stale, {1: 5})
    with pytest.raises(type(error)):
        await joint(served, Work(stale, error)).encode(CLAIM.only([1]))
    assert (served.num_covers, stale.finished) == (1, [])


async def test_a_claim_is_parted_as_each_encoder_needs_it(stale: Finished) -> None:
    work = joint(Work(stale, {}), Work(stale, {}))
    assert [list(part.versions) for part in await work.parts(CLAIM)] == [[1], [2]]


async def test_what_nobody_reads_any_more_is_released_at_once(stale: Finished) -> None:
    work = joint(Work(stale, {}), Work(stale, {}))
    assert work
    work.leave(SERVED)
    work.leave(BESIDE)
    assert not work
    await work.encode(CLAIM)
    assert (stale.released, stale.finished) == (([1, 2], False), [])
