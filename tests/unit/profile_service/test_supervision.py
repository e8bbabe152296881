"""The supervisor runs on after every failure, and reports each streak of failures once."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from groundswell.profile_service.worker import supervision
from groundswell.profile_service.worker.supervision import Supervisor
from groundswell.serving.errors import Unavailable


class Work:
    """Turns that end as the list says, then for ever without a failure."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.is_done = asyncio.Event()
        """All that was to fail has failed, and a turn more went well."""
        self.told: list[bool] = []

    async def turn(self) -> None:
        await asyncio.sleep(0)
        if not self.errors and not self.is_done.is_set():
            self.is_done.set()
            return
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        await asyncio.sleep(0.001)

    async def report(self, *, failing: bool) -> None:
        self.told.append(failing)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    monkeypatch.setattr(supervision, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(supervision, "_LAST_DELAY_S", 0.004)
    with capture_logs() as lines:
        yield lines


async def supervised(work: Work, *, failing_after_s: float = 0.0) -> None:
    """Run until all that was to fail has failed, and work goes on."""
    supervisor = Supervisor(work.report, failing_after_s=failing_after_s)
    task = asyncio.create_task(supervisor.run(work.turn))
    async with asyncio.timeout(10):
        await work.is_done.wait()
        await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("STORE_UNAVAILABLE", "the database does not answer"),
        RuntimeError("the text of ann"),
        MemoryError(),
        OSError(28, "No space left on device"),
        ExceptionGroup("several", [ValueError("x")]),
    ],
)
async def test_whatever_a_turn_raises_the_next_one_comes(
    error: Exception, logged: list[Any]
) -> None:
    work = Work(error, error, error, error)
    await supervised(work)
    assert work.told == [True, False]
    events = [line["event"] for line in logged]
    assert events == ["worker_fails", "worker_works_again"]
    assert "the text of ann" not in repr(logged)


async def test_a_short_streak_of_failures_is_not_reported(logged: list[Any]) -> None:
    work = Work(RuntimeError(), RuntimeError())
    await supervised(work, failing_after_s=60)
    assert work.told == []
    assert logged[-1] == {"event": "worker_works_again", "num_failures": 2, "log_level": "info"}


async def test_each_kind_of_failure_in_a_streak_is_logged_once_and_each_streak_anew(
    logged: list[Any],
) -> None:
    first, second = RuntimeError(), Unavailable("STORE_UNAVAILABLE", "")
    await supervised(Work(first, second, first, second, None, first))
    kinds = [line["kind"] for line in logged if line["event"] == "worker_fails"]
    assert kinds == ["RuntimeError", "STORE_UNAVAILABLE", "RuntimeError"]
    assert logged[0]["log_level"] == "error"
    assert logged[1]["log_level"] == "warning"


async def test_a_cancelled_turn_ends_it() -> None:
    work = Work()
    task = asyncio.create_task(Supervisor(work.report).run(work.turn))
    await work.is_done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
