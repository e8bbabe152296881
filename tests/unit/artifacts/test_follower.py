"""The follower: a new bundle is handed over, a bad one is refused and the old one stays."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.follower import BundleFollower
from groundswell.artifacts.store import BundleStore
from tests.support.bundles import tiny_bundle


class _Server:
    """Records what a server would take and refuse."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refused: list[str] = []

    async def take(self, bundle: Bundle) -> None:
        self.taken.append(bundle.id)

    def refuse(self, bundle_id: str, _: BundleError) -> None:
        self.refused.append(bundle_id)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the follower's task has no event to wait on
            await asyncio.sleep(0.01)


async def test_a_server_cannot_start_without_a_bundle(tmp_path: Path) -> None:
    server = _Server()
    follower = BundleFollower(BundleStore(tmp_path), 0.01, server.take, server.refuse)
    with pytest.raises(BundleError, match="no current bundle"):
        await follower.start()


async def test_the_next_bundle_is_taken_and_a_corrupt_one_refused_once(tmp_path: Path) -> None:
    first = await asyncio.to_thread(tiny_bundle, tmp_path, seed=1)
    server = _Server()
    follower = BundleFollower(BundleStore(tmp_path), 0.01, server.take, server.refuse)
    await follower.start()
    second = await asyncio.to_thread(tiny_bundle, tmp_path, seed=2)
    await _until(lambda: len(server.taken) == 2)
    with (first / files.SESSION).open("ab") as file:
        file.write(b"x")
    BundleStore(tmp_path).set_current(first.name)
    await _until(lambda: len(server.refused) > 0)
    await asyncio.sleep(0.1)
    await follower.close()
    assert server.taken == [first.name, second.name]
    assert server.refused == [first.name]
