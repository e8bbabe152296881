"""Two replicas of every service under load, one killed: what callers notice, and what is kept."""

import asyncio
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from groundswell.client import (
    AsyncGroundswellClient,
    Deadlines,
    GroundswellClient,
    GroundswellError,
    Targets,
    event,
)
from groundswell.common.v1.event_pb2 import EVENT_STATUS_REJECTED
from tests.support.bundles import ITEMS
from tests.support.postgres import Postgres
from tests.support.processes import Process, free_port, service_process
from tests.support.suite import tiny_items
from tests.support.valkey import Valkey

KINDS = ("profile", "session", "ranker")
CALLERS = 8
USERS = 40
PAUSE_S = 0.01
CALLS_BEFORE, CALLS_AFTER = 500, 2_000
MIN_SHARE = 0.999


class Doubled:
    """Two processes of every service, which know each other by addresses that name both."""

    def __init__(self, folder: Path, bundles: Path, database_url: str, windows_url: str) -> None:
        self.ports = {kind: (free_port(), free_port()) for kind in KINDS}
        addresses = {
            kind: "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
            for kind, ports in self.ports.items()
        }
        self.targets = Targets(**addresses)
        profile = {"GROUNDSWELL_PROFILE_ADDRESS": addresses["profile"]}
        settings = {
            "profile": {
                "GROUNDSWELL_DATABASE_URL": database_url,
                "GROUNDSWELL_ENCODER_BACKEND": "onnx",
            },
            "session": {
                **profile,
                "GROUNDSWELL_WINDOWS_URL": windows_url,
                "GROUNDSWELL_REPLICAS": "2",
                "GROUNDSWELL_WINDOWS_TIMEOUT_S": "2",
            },
            "ranker": {
                **profile,
                "GROUNDSWELL_SESSION_ADDRESS": addresses["session"],
                "GROUNDSWELL_START_WAIT_S": "30",
            },
        }
        self.processes: dict[str, list[Process]] = {
            kind: [
                service_process(
                    f"groundswell.{kind}_service",
                    port,
                    bundles,
                    folder / f"{kind}-{port}.log",
                    settings[kind],
                )
                for port in self.ports[kind]
            ]
            for kind in KINDS
        }

    def start(self, kind: str, index: int) -> None:
        """Start a process, and wait until it serves."""
        process = self.processes[kind][index]
        process.start()
        process.wait_serving(f"127.0.0.1:{self.ports[kind][index]}", timeout=60.0)


@pytest.fixture(scope="module")
def doubled(
    tmp_path_factory: pytest.TempPathFactory, bundles: Path, server: Postgres, valkey: Valkey
) -> Iterator[Doubled]:
    folder = tmp_path_factory.mktemp("doubled")
    suite = Doubled(folder, bundles, server.new_database(), valkey.url)
    with ExitStack() as stack:
        for kind in KINDS:
            for index, process in enumerate(suite.processes[kind]):
                stack.callback(process.stop)
                suite.start(kind, index)
            if kind == "profile":
                with GroundswellClient(suite.targets, deadlines=Deadlines(write_s=30)) as client:
                    client.upsert_items(tiny_items())
                    for _ in client.refresh_profiles():
                        pass
        yield suite


class Load:
    """Callers of every service, what became of their calls, and the acknowledged events."""

    def __init__(self, client: AsyncGroundswellClient, name: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.acknowledged: defaultdict[str, set[str]] = defaultdict(set)
        self.is_over = False
        self._client = client
        self._name = name
        self._until = 0
        self._grown = asyncio.Event()

    async def caller(self, number: int) -> None:
        """Call one service after the other until the load is over."""
        choice = random.Random(number)
        for turn in range(1_000_000):
            if self.is_over:
                return
            user = f"user-{choice.randrange(USERS)}"
            try:
                degraded = await self._call(turn % 4, user, f"{self._name}-{number}-{turn}", choice)
                self.outcomes["degraded" if degraded else "ok"] += 1
            except GroundswellError as error:
                self.outcomes[f"{error.status.name} {error.reason}"] += 1
            if self.outcomes.total() >= self._until:
                self._grown.set()
            await asyncio.sleep(PAUSE_S)

    async def grow(self, num_calls: int) -> None:
        """Wait until so many more calls have ended."""
        self._until = self.outcomes.total() + num_calls
        self._grown.clear()
        await self._grown.wait()

    async def _call(self, kind: int, user: str, name: str, choice: random.Random) -> bool:
        """Make a call; return whether its answer was less than a whole one."""
        if kind == 0:
            return bool((await self._client.recommend(user)).degradations)
        if kind == 1:
            sent = event(user, choice.choice(ITEMS)[0], "click", event_id=name)
            (result,) = await self._client.record_events([sent])
            assert result.status != EVENT_STATUS_REJECTED, result
            self.acknowledged[user].add(name)
            return False
        if kind == 2:
            return (await self._client.encode_session(user)).stale
        return (await self._client.get_profile(user)).stale


async def _kill_one(suite: Doubled, kind: str) -> Load:
    """Kill a replica under load; callers go on for a while."""
    # A machine that runs tests is slow.
    deadlines = Deadlines(read_s=10, write_s=10)
    async with AsyncGroundswellClient(suite.targets, deadlines=deadlines) as client:
        load = Load(client, kind)
        callers = [asyncio.create_task(load.caller(number)) for number in range(CALLERS)]
        await load.grow(CALLS_BEFORE)
        await asyncio.to_thread(suite.processes[kind][0].kill)
        await load.grow(CALLS_AFTER)
        load.is_over = True
        await asyncio.gather(*callers)
    return load


@pytest.mark.parametrize("kind", KINDS)
async def test_a_killed_replica_fails_hardly_a_call_and_loses_no_event(
    doubled: Doubled, kind: str
) -> None:
    load = await _kill_one(doubled, kind)
    # A replica that is listed by a fixed address gets calls before it is ready: not under load.
    doubled.start(kind, 0)
    num_calls = load.outcomes.total()
    share = (load.outcomes["ok"] + load.outcomes["degraded"]) / num_calls
    sys.stdout.write(f"\n{kind}: {share:.4%} of {num_calls} calls, {dict(load.outcomes)}\n")
    with GroundswellClient(doubled.targets, deadlines=Deadlines(read_s=10)) as client:
        for user, event_ids in load.acknowledged.items():
            stored = {listed.event.event_id for listed in client.list_events(user)}
            assert event_ids <= stored, user
    assert share >= MIN_SHARE
