"""Keeps one encoder worker running, for the text encoder of the newest bundle."""

import asyncio
from collections.abc import Callable
from functools import partial

from groundswell.artifacts.bundle import Bundle
from groundswell.profile_service.encoding import TextEncoder
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.signals import Signals
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.supervision import Report, Supervisor
from groundswell.profile_service.worker import Worker


class Workers:
    """Starts the worker, and starts another when a bundle brings another encoder.

    With `settings.worker` off it only puts what a new encoder has not read on the work lists.
    `report` hears when the worker fails for longer, and when it works again.
    """

    def __init__(
        self,
        database: Database,
        settings: ProfileSettings,
        signals: Signals,
        load_encoder: Callable[[Bundle], TextEncoder],
        report: Report,
    ) -> None:
        self._database = database
        self._settings = settings
        self._signals = signals
        self._load_encoder = load_encoder
        self._supervisor = Supervisor(report)
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None

    async def follow(self, bundle: Bundle, spec: Spec) -> None:
        """Work for a bundle's encoder from now on; nothing changes when it is the same one."""
        if self._worker is not None and self._worker.spec == spec:
            return
        encoder = await asyncio.to_thread(self._load_encoder, bundle)
        worker = Worker(self._database, encoder, spec, self._settings, self._signals)
        if self._worker is None:
            await worker.take_over()
        await worker.mark_uncovered()
        await self.close()
        self._worker = worker
        if self._settings.worker:
            self._task = asyncio.create_task(self._supervisor.run(partial(self._turn, worker)))

    async def close(self) -> None:
        """Stop working; what was claimed is claimed again when its lease is over."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._worker is not None:
            await self._worker.close()
            self._worker = None

    async def _turn(self, worker: Worker) -> None:
        """Do what is there to do, or wait for it."""
        mark = self._signals.work.mark
        if not await worker.step():
            await self._signals.work.wait(mark, self._settings.idle_poll_s)
