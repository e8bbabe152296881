"""Failures of the database are logged once, and an outage is detected."""

import asyncio

import pytest
from structlog.testing import capture_logs

from groundswell.profile_service.store.failures import Cause
from groundswell.profile_service.store.outages import Outages
from groundswell.serving.errors import Unavailable


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_partial_outage_is_logged_once_however_many_transactions_work_in_between() -> None:
    clock = Clock()
    outages = Outages(None, clock)
    with capture_logs() as logs:
        for _ in range(200):
            clock.now_s += 0.1
            outages.failed("write", Cause.FULL, OSError())
            outages.worked("write")
        assert [entry["event"] for entry in logs] == ["store_fails"]
        clock.now_s += 10
        outages.worked("write")
        outages.worked("write")
    assert [entry["event"] for entry in logs] == ["store_fails", "store_works_again"]


async def test_a_database_is_not_gone_while_transactions_work_though_the_probe_fails() -> None:
    async def probe() -> None:
        raise TimeoutError

    outages = Outages(probe)
    for _ in range(3):
        outages.failed("write", Cause.GONE, OSError())
        for _ in range(20):
            await asyncio.sleep(0.01)
            outages.worked("read")
        outages.check()
    outages.failed("write", Cause.GONE, OSError())
    await asyncio.sleep(0.5)
    with pytest.raises(Unavailable):
        outages.check()
    await outages.close()
