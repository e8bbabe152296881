"""Runs the encoder worker, and adds and removes its text encoders."""

import asyncio
import time
from collections.abc import Callable, Collection
from functools import partial

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.worker.backfill import Backfill
from groundswell.profile_service.worker.load import measure_load
from groundswell.profile_service.worker.loop import Worker
from groundswell.profile_service.worker.supervision import Report, Supervisor
from groundswell.profile_service.worker.text_backends.backend import TextEncoders
from groundswell.profile_service.worker.uncovered import mark_uncovered
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.telemetry import count, unexpected

_log = structlog.get_logger(__name__)

_CATCH_UP_AGAIN_S = 1.0
_CATCH_UP_LAST_DELAY_S = 60.0
_STEP_EVERY_S = 0.05
"""The least time between the beginnings of two steps: what is marked one by one in between is
claimed together."""
_PAUSE_SHARE = 3.0
"""The pause while callers write, as a multiple of the step before it; at most `idle_poll_s`."""


class RunningWorker:
    """Runs one worker, which uses the served text encoder and others beside it.

    With `settings.worker` off it only puts on the work lists what an encoder has not read. `report`
    is called when the worker's failures last, and when it works again.
    """

    def __init__(
        self,
        database: Database,
        settings: ProfileSettings,
        signals: Signals,
        load_encoders: Callable[[Bundle], TextEncoders],
        report: Report,
    ) -> None:
        self._database = database
        self._settings = settings
        self._signals = signals
        self._load_encoders = load_encoders
        self._supervisor = Supervisor(report)
        self._served: Spec | None = None
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._catching_up: set[asyncio.Task[None]] = set()

    async def begin(self, bundle: Bundle, spec: Spec) -> None:
        """Start the worker with the encoder of the first bundle."""
        await mark_uncovered(self._database, spec)
        self._served = spec
        if self._settings.worker:
            encoders = await asyncio.to_thread(self._load_encoders, bundle)
            worker = Worker(
                self._database,
                encoders,
                spec,
                self._settings,
                self._signals,
                bundle.manifest.max_chunks,
            )
            await worker.take_over()
            self._worker = worker
            self._task = asyncio.create_task(self._supervisor.run(partial(self._turn, worker)))
            self._measuring = asyncio.create_task(measure_load(self._database))

    async def backfill(self, bundle: Bundle, spec: Spec) -> None:
        """Encode all stored subjects with the encoder of a bundle that is to be served next.

        New events and items are read with it too, until `keep` ends that. A cancelled call loses
        nothing that was read.
        """
        if spec != self._served and await self._join(bundle, spec):
            await self._backfill(spec).run()

    async def serve(self, bundle: Bundle, spec: Spec) -> None:
        """Make an encoder the served one, even if some subjects still lack its vectors."""
        if spec == self._served:
            return
        lacks_some = await self._join(bundle, spec)
        # While no bundle in use read histories, no user was put on the list.
        lacks_some |= spec.reads_histories and not (self._served and self._served.reads_histories)
        self._served = spec
        if self._worker is not None:
            self._worker.serve(spec)
        if lacks_some:
            task = asyncio.create_task(self._catch_up(spec))
            self._catching_up.add(task)
            task.add_done_callback(self._catching_up.discard)

    async def keep(self, specs: Collection[Spec]) -> None:
        """Remove every encoder but these and the served one."""
        if self._worker is not None:
            await self._worker.keep(specs)

    async def close(self) -> None:
        """Stop the worker and the backfills."""
        started = (self._task, self._measuring, *self._catching_up)
        tasks = [task for task in started if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._worker is not None:
            await self._worker.close()
            self._worker = None

    async def _turn(self, worker: Worker) -> None:
        """Do one step of work; without work, wait for a signal.

        While callers write, it pauses after each step: a step makes them wait for the database.
        """
        mark, began_s = self._signals.work.mark, time.monotonic()
        next_s = began_s + _STEP_EVERY_S
        if not await worker.step():
            await self._signals.work.wait(mark, self._settings.idle_poll_s)
        elif mark.is_set():
            pause_s = _PAUSE_SHARE * (time.monotonic() - began_s)
            next_s = max(next_s, time.monotonic() + min(pause_s, self._settings.idle_poll_s))
        await asyncio.sleep(next_s - time.monotonic())

    async def _join(self, bundle: Bundle, spec: Spec) -> bool:
        """Add an encoder to the worker; return False when the worker has it already."""
        if self._worker is None:
            return True
        if spec in self._worker.specs:
            return False
        encoders = await asyncio.to_thread(self._load_encoders, bundle)
        self._worker.join(encoders, spec, bundle.manifest.max_chunks)
        return True

    async def _catch_up(self, spec: Spec) -> None:
        """Backfill for the served encoder; try again after every failure."""
        backoff = ExponentialBackoff(_CATCH_UP_AGAIN_S, _CATCH_UP_LAST_DELAY_S)
        while True:
            try:
                return await self._backfill(spec).run()
            except Exception as error:  # noqa: BLE001 - else some users would stay uncovered
                count("catching_up_failures")
                _log.error("catching_up_failed", **unexpected(error))
            await asyncio.sleep(backoff.next_s())

    def _backfill(self, spec: Spec) -> Backfill:
        return Backfill(self._database, spec, self._signals)
