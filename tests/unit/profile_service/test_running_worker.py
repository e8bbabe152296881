"""The worker reads everything that its encoder lacks, and lets callers write meanwhile."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.worker import running as module
from groundswell.profile_service.worker.running import RunningWorker


class Backfill:
    """Fails twice, then has read everything."""

    def __init__(self) -> None:
        self.num_runs = 0
        self.user = "ann"
        self.is_done = asyncio.Event()

    async def run(self) -> None:
        self.num_runs += 1
        if self.num_runs < 3:
            raise RuntimeError(f"the text of {self.user}")
        self.is_done.set()


async def test_catching_up_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_CATCH_UP_AGAIN_S", 0.001)
    settings = ProfileSettings.model_validate({"secret": "s" * 16, "bundles": tmp_path})
    nothing: Any = None
    worker = RunningWorker(nothing, settings, Signals(), nothing, nothing)
    backfill = Backfill()
    monkeypatch.setattr(worker, "_backfill", lambda _: backfill)
    with capture_logs() as logged:
        await worker.serve(nothing, Spec("another encoder", 4))
        async with asyncio.timeout(5):
            await backfill.is_done.wait()
        await worker.close()
    assert backfill.num_runs == 3
    assert [line["event"] for line in logged] == ["catching_up_failed"] * 2
    assert "the text of ann" not in repr(logged)


class Busy:
    """A worker that finds one thing to do at every step."""

    num_steps = 0

    async def step(self) -> bool:
        self.num_steps += 1
        return True


async def test_what_comes_one_by_one_is_not_worked_off_one_by_one(tmp_path: Path) -> None:
    settings = ProfileSettings.model_validate({"secret": "s" * 16, "bundles": tmp_path})
    nothing: Any = None
    running = RunningWorker(nothing, settings, Signals(), nothing, nothing)
    busy: Any = Busy()
    began_s = time.monotonic()
    for _ in range(6):
        await running._turn(busy)
    assert busy.num_steps == 6
    assert time.monotonic() - began_s >= 6 * 0.05


class Steps:
    """Stands for a worker that always finds work; a step takes a while."""

    took_s = 0.04

    def __init__(self, signals: Signals, *, callers_write: bool) -> None:
        self._signals = signals
        self._callers_write = callers_write

    async def step(self) -> bool:
        await asyncio.sleep(self.took_s)
        if self._callers_write:
            self._signals.work.notify()
        return True


@pytest.mark.parametrize("callers_write", [False, True])
async def test_a_long_pause_comes_after_a_step_only_while_callers_write(
    tmp_path: Path, callers_write: bool
) -> None:
    settings = ProfileSettings.model_validate({"secret": "s" * 16, "bundles": tmp_path})
    nothing: Any = None
    signals = Signals()
    worker = RunningWorker(nothing, settings, signals, nothing, nothing)
    steps: Any = Steps(signals, callers_write=callers_write)
    began_s = time.monotonic()
    for _ in range(3):
        await worker._turn(steps)
    pauses_s = time.monotonic() - began_s - 3 * Steps.took_s
    assert (pauses_s >= 3 * 3 * Steps.took_s) is callers_write
