"""Jobs in the background go on after any error, and do not wait for each other."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from groundswell.profile_service import expiry as module
from groundswell.profile_service.expiry import Expiry
from groundswell.profile_service.outcomes.popularity_counter import Popularity
from groundswell.profile_service.rights import erasures
from groundswell.profile_service.rights.erasures import Erasures
from groundswell.profile_service.store.database import Database


class Failing:
    """A function that fails at first, and then ends the test's wait."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.worked = asyncio.Event()

    async def __call__(self, *_: object) -> int:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("disk on fire")
        self.worked.set()
        return 0


async def test_expiry_goes_on_after_an_error_and_beside_a_job_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.0)
    never, failing = asyncio.Event(), Failing(2)

    async def takes_long() -> int:
        await never.wait()
        return 0

    expiry = Expiry(long=takes_long, failing=failing)
    await expiry.start()
    async with asyncio.timeout(60):
        await failing.worked.wait()
    await expiry.close()


async def test_erasures_are_followed_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "_AGAIN_S", 0.0)
    database = cast(Database, SimpleNamespace(read=Failing(0)))
    follower = Erasures(database, SimpleNamespace(), None, drop=len, idle_poll_s=60.0)  # type: ignore[arg-type]
    syncing = Failing(0)
    monkeypatch.setattr(follower, "_sync", syncing)
    await follower.start()
    syncing.failures = 2
    syncing.worked.clear()
    async with asyncio.timeout(60):
        await syncing.worked.wait()
    await follower.close()


async def test_popularity_is_filled_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "groundswell.profile_service.outcomes.popularity_counter._WRITE_EVERY_S", 0.0
    )
    database = cast(Database, SimpleNamespace(write=Failing(0)))
    popularity = Popularity(database, half_life_s=1.0, idle_poll_s=60.0)
    filling = Failing(2)
    monkeypatch.setattr(popularity, "fill", filling)
    await popularity.start()
    async with asyncio.timeout(60):
        await filling.worked.wait()
    await popularity.close()
