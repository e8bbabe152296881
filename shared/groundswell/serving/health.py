"""Answers the health service for the process, its services, and parts of it that may fail."""

import asyncio
from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2

OVERALL: str = health.OVERALL_HEALTH

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Holds an answer per name: SERVING when the process is ready and the named part works."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names: set[str] = {OVERALL}
        self._failing: set[str] = set()
        self._is_ready = False
        self._all_fail = False
        self._telling = asyncio.Lock()

    async def add(self, names: Iterable[str]) -> None:
        """Answer for these names too; NOT_SERVING until the process is ready."""
        self._names.update(names)
        await self._tell()

    async def ready(self) -> None:
        """Note that the process can serve."""
        self._is_ready = True
        await self._tell()

    async def report(self, names: Iterable[str], *, failing: bool) -> None:
        """Note whether the part of the process with these names fails."""
        self._names.update(names)
        self._failing = self._failing | set(names) if failing else self._failing - set(names)
        await self._tell()

    async def report_all(self, *, failing: bool) -> None:
        """Note whether something is wrong that none of the names can serve with."""
        self._all_fail = failing
        await self._tell()

    async def shut_down(self) -> None:
        """Answer NOT_SERVING to every name from now on."""
        await self.servicer.enter_graceful_shutdown()

    async def _tell(self) -> None:
        async with self._telling:
            for name in sorted(self._names):
                is_well = self._is_ready and not self._all_fail and name not in self._failing
                await self.servicer.set(name, _SERVING if is_well else _NOT_SERVING)
