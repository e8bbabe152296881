"""The follower takes a new bundle, refuses a bad one, and goes on after every failure."""

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.store import BundleStore, Signature
from groundswell.runtime.bundle_follower import BundleFollower
from tests.support.bundles import tiny_bundle

STALE = OSError(errno.ESTALE, "Stale file handle", "/bundles/current")
CORRUPT = BundleError("BUNDLE_CORRUPT", "session.onnx was changed")


class FakeStore(BundleStore):
    """A folder of bundles whose file system fails as a test says."""

    def __init__(self, pointer: str | None) -> None:
        super().__init__(Path("/bundles"))
        self.pointer: str | None = pointer
        self.pointer_error: Exception | None = None
        self.load_errors: dict[str, Exception] = {}
        self.versions: Counter[str] = Counter()
        self.loads: list[str] = []

    def current(self) -> str | None:
        if self.pointer_error is not None:
            raise self.pointer_error
        return self.pointer

    def load(self, bundle_id: str) -> Bundle:
        self.loads.append(bundle_id)
        if bundle_id in self.load_errors:
            raise self.load_errors[bundle_id]
        return Bundle(bundle_id, self.path(bundle_id), cast(Manifest, None))

    def signature(self, bundle_id: str) -> Signature:
        return ((bundle_id, 0, self.versions[bundle_id]),)


class Server:
    """Takes bundles; those of `slow` only when they are let through."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.taken: list[str] = []
        self.given_up: list[str] = []
        self.slow: set[str] = set()
        self.through = asyncio.Event()
        self.errors: dict[str, Exception] = {}

    async def take(self, bundle: Bundle) -> None:
        self.begun.append(bundle.id)
        try:
            if bundle.id in self.slow:
                await self.through.wait()
        except asyncio.CancelledError:
            self.given_up.append(bundle.id)
            raise
        if bundle.id in self.errors:
            raise self.errors[bundle.id]
        self.taken.append(bundle.id)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> FakeStore:
    return FakeStore("a")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def follower(store: FakeStore, server: Server, clock: Clock) -> AsyncIterator[BundleFollower]:
    """One that serves bundle a and polls all the time."""
    following = BundleFollower(store, 0.001, server.take, clock=clock)
    await following.start()
    yield following
    await following.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the follower's task has no event to wait on
            await asyncio.sleep(0.001)


async def some_polls() -> None:
    await asyncio.sleep(0.05)


def events(logs: Sequence[Mapping[str, object]], name: str) -> int:
    return sum(entry["event"] == name for entry in logs)


async def test_a_server_cannot_start_without_a_bundle(server: Server) -> None:
    with pytest.raises(BundleError, match="no current bundle"):
        await BundleFollower(FakeStore(None), 0.01, server.take).start()


async def test_a_folder_that_cannot_be_read_at_the_start_is_named(
    store: FakeStore, server: Server
) -> None:
    store.pointer_error = STALE
    with pytest.raises(BundleError, match="/bundles/current: Stale file handle") as caught:
        await BundleFollower(store, 0.01, server.take).start()
    assert caught.value.reason == "BUNDLES_UNREADABLE"


@pytest.mark.parametrize("error", [STALE, PermissionError(errno.EACCES, "no"), CORRUPT])
@pytest.mark.usefixtures("follower")
async def test_a_pointer_that_cannot_be_read_is_said_once_and_read_again(
    store: FakeStore, server: Server, error: Exception
) -> None:
    with capture_logs() as logs:
        store.pointer_error = error
        await some_polls()
        store.pointer, store.pointer_error = "b", None
        await until(lambda: server.taken == ["a", "b"])
    assert events(logs, "bundle_pointer_not_read") == 1


@pytest.mark.usefixtures("follower")
async def test_a_bundle_whose_files_fail_to_be_read_is_tried_again_soon(
    store: FakeStore, server: Server, clock: Clock
) -> None:
    with capture_logs() as logs:
        store.load_errors["b"] = STALE
        store.pointer = "b"
        await until(lambda: store.loads == ["a", "b"])
        await some_polls()
        assert store.loads == ["a", "b"], "it waits before it tries again"
        clock.now += 1.5
        await until(lambda: store.loads == ["a", "b", "b"])
        await some_polls()
        del store.load_errors["b"]
        clock.now += 2.5
        await until(lambda: server.taken == ["a", "b"])
    assert events(logs, "bundle_not_taken_yet") == 1


@pytest.mark.usefixtures("follower")
async def test_a_bundle_that_is_still_being_copied_is_taken_when_its_files_have_come(
    store: FakeStore, server: Server
) -> None:
    with capture_logs() as logs:
        store.load_errors["b"] = CORRUPT
        store.pointer = "b"
        await until(lambda: store.loads == ["a", "b"])
        await some_polls()
        assert store.loads == ["a", "b"], "nothing has changed"
        store.versions["b"] += 1
        await until(lambda: store.loads == ["a", "b", "b"])
        del store.load_errors["b"]
        store.versions["b"] += 1
        await until(lambda: server.taken == ["a", "b"])
    assert events(logs, "bundle_refused") == 1


@pytest.mark.usefixtures("follower")
async def test_a_refused_bundle_is_tried_now_and_then_even_if_nothing_seems_to_change(
    store: FakeStore, server: Server, clock: Clock
) -> None:
    server.errors["b"] = CORRUPT
    store.pointer = "b"
    await until(lambda: store.loads == ["a", "b"])
    await some_polls()
    del server.errors["b"]
    clock.now += 59
    await some_polls()
    assert server.taken == ["a"]
    clock.now += 2
    await until(lambda: server.taken == ["a", "b"])


@pytest.mark.usefixtures("follower")
async def test_a_pointer_that_moves_during_a_taking_ends_it(
    store: FakeStore, server: Server
) -> None:
    server.slow.add("b")
    store.pointer = "b"
    await until(lambda: "b" in store.loads)
    store.pointer = "c"
    await until(lambda: server.taken == ["a", "c"])
    assert server.given_up == ["b"]


@pytest.mark.usefixtures("follower")
async def test_a_rollback_during_a_taking_ends_it_at_once_and_takes_nothing_anew(
    store: FakeStore, server: Server
) -> None:
    server.slow.add("b")
    store.pointer = "b"
    await until(lambda: "b" in store.loads)
    store.pointer = "a"
    await until(lambda: server.given_up == ["b"])
    await some_polls()
    assert server.taken == ["a"]
    server.through.set()
    store.pointer = "b"
    await until(lambda: server.taken == ["a", "b"])


@pytest.mark.usefixtures("follower")
async def test_a_taking_is_begun_once_however_long_it_takes(
    store: FakeStore, server: Server, clock: Clock
) -> None:
    server.slow.add("b")
    store.pointer = "b"
    await until(lambda: "b" in store.loads)
    for _ in range(5):
        clock.now += 3600
        await some_polls()
    store.pointer = None
    await some_polls()
    store.pointer = "b"
    server.through.set()
    await until(lambda: server.taken == ["a", "b"])
    assert store.loads == ["a", "b"]


@pytest.mark.usefixtures("follower")
async def test_whatever_goes_wrong_with_a_bundle_the_next_one_is_taken(
    store: FakeStore, server: Server
) -> None:
    server.errors["b"] = RuntimeError("a bug")
    store.pointer = "b"
    await until(lambda: "b" in store.loads)
    store.pointer = "c"
    await until(lambda: server.taken == ["a", "c"])


async def test_it_begins_with_a_bundle_that_can_be_served_now(
    store: FakeStore, server: Server
) -> None:
    async def first(current: str) -> str:
        assert current == "b"
        return "a"

    store.pointer = "b"
    follower = BundleFollower(store, 0.001, server.take, first=first)
    await follower.start()
    assert server.taken == ["a"]
    await until(lambda: server.taken == ["a", "b"])
    await follower.close()


async def test_its_end_gives_up_what_is_being_taken(store: FakeStore, server: Server) -> None:
    follower = BundleFollower(store, 0.001, server.take)
    await follower.start()
    server.slow.add("b")
    store.pointer = "b"
    await until(lambda: "b" in server.begun)
    await follower.close()
    assert server.given_up == ["b"]


async def test_real_bundles_are_followed_from_one_to_the_next(
    tmp_path: Path, server: Server
) -> None:
    first = await asyncio.to_thread(tiny_bundle, tmp_path, seed=1)
    follower = BundleFollower(BundleStore(tmp_path), 0.01, server.take)
    await follower.start()
    second = await asyncio.to_thread(tiny_bundle, tmp_path, seed=2)
    await until(lambda: len(server.taken) == 2)
    with capture_logs() as logs:
        with (first / "session.onnx").open("ab") as file:
            file.write(b"x")
        BundleStore(tmp_path).set_current(first.name)
        await until(lambda: events(logs, "bundle_refused") == 1)
        await asyncio.sleep(0.1)
    await follower.close()
    assert server.taken == [first.name, second.name]
    assert events(logs, "bundle_refused") == 1
