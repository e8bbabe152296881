"""A secret changes under load: two services serve on, its process is killed again and again."""

import asyncio
import json
import random
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from groundswell.client import Deadlines, GroundswellClient, Targets, event
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.tables import users
from groundswell.profile_service.store.users import count_users
from tests.support.bundles import ITEMS, tiny_bundle
from tests.support.postgres import postgres
from tests.support.processes import Process, free_port, service_process
from tests.support.suite import tiny_items

OLD, NEW = "the old secret of the campaign", "the new secret of the campaign"
OTHERS = 60_000
"""Users who only have to be rewritten."""
SECONDS = 30.0
ROTATE = ["-m", "groundswell.profile_service", "rotate-secret"]
KILLS = 8


class Writers:
    """Two clients, each of a service of its own; what was accepted is counted."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.accepted: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self, seconds: float) -> list[threading.Thread]:
        """Start them; they end by themselves."""
        threads = [
            threading.Thread(target=self._write, args=(n, address, time.monotonic() + seconds))
            for n, address in enumerate(self._addresses)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _write(self, number: int, address: str, end: float) -> None:
        rng, n = random.Random(number), 0
        with client_of(address) as client:
            while time.monotonic() < end:
                n += 1
                names = {f"user-{rng.randrange(n + 20)}" for _ in range(4)}
                events = [
                    event(name, ITEMS[n % len(ITEMS)][0], event_id=f"{number}-{n}-{name}")
                    for name in sorted(names)
                ]
                try:
                    results = client.append_events(events)
                    found = client.get_profile(events[0].user_id)
                except Exception as error:  # noqa: BLE001 - any failure at all is a finding
                    self.problems.append(f"{type(error).__name__}: {error}")
                    continue
                self.problems += [result.reason for result in results if result.reason]
                with self._lock:
                    self.accepted.update(names)
                if found.num_events == 0:
                    self.problems.append(f"{events[0].user_id} is not found")


def client_of(address: str) -> GroundswellClient:
    targets = Targets(profile=address, session="127.0.0.1:1", ranker="127.0.0.1:1")
    return GroundswellClient(targets, deadlines=Deadlines(read_s=20, write_s=20))


async def add_others(url: str) -> None:
    database = Database(url)
    await database.open()
    rng = random.Random(0)
    for _ in range(0, OTHERS, 10_000):
        rows = [{"user_key": rng.randbytes(32), "last_sequence": 0} for _ in range(10_000)]
        await database.write(lambda c, rows=rows: c.execute(users.insert(), rows))  # type: ignore[misc]
    await database.close()


async def counted(url: str) -> tuple[int, int]:
    database = Database(url)
    found = await database.read(lambda c: count_users(c, 2))
    await database.close()
    return found


def test_nobody_is_lost_or_stored_twice_while_the_secret_changes(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundles = tmp_path / "bundles"
    tiny_bundle(bundles)
    with ExitStack() as stack:
        url = stack.enter_context(postgres(tmp_path_factory.mktemp("pg"))).new_database()
        asyncio.run(add_others(url))
        both = {
            "GROUNDSWELL_DATABASE_URL": url,
            "GROUNDSWELL_SECRET": NEW,
            "GROUNDSWELL_PREVIOUS_SECRETS": OLD,
        }
        first = {**both, "GROUNDSWELL_SECRET": OLD, "GROUNDSWELL_PREVIOUS_SECRETS": ""}
        # The database learns the old secret, as it did before there was a new one.
        learning = Process(
            ["-m", "groundswell.profile_service", "rotate-secret"], first, tmp_path / "l"
        )
        with learning:
            assert learning.wait(60) == 0
        addresses = []
        for name in ("a", "b"):
            port = free_port()
            addresses.append(f"127.0.0.1:{port}")
            module = "groundswell.profile_service"
            process = service_process(module, port, bundles, tmp_path / name, both)
            stack.enter_context(process).wait_serving(addresses[-1], timeout=60)
        with client_of(addresses[0]) as client:
            client.upsert_items(tiny_items())
        writers = Writers(addresses)
        threads = writers.run(SECONDS)
        begun_at = _rotate_with_kills(both, tmp_path / "rotation")
        # Each run began where the killed one before it stopped.
        assert begun_at == sorted(begun_at)
        assert len(set(begun_at)) > KILLS // 2
        for thread in threads:
            thread.join()
        assert writers.problems == []
        total, older = asyncio.run(counted(url))
        assert (total, older) == (OTHERS + len(writers.accepted), 0)
        with client_of(addresses[1]) as client:
            for user_id, number in writers.accepted.items():
                assert client.get_profile(user_id).num_events == number


def _rotate_with_kills(environment: dict[str, str], log: Path) -> list[int]:
    """Kill the rewriting KILLS times; return after how many users each run began."""
    rng = random.Random(1)
    process = Process(ROTATE, environment, log)
    for number in range(KILLS):
        with process:
            end = time.monotonic() + 60
            while len(_begun_at(process)) <= number:
                assert process.is_running and time.monotonic() < end, process.log()
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.2))
            process.kill()
            assert process.popen.returncode == -signal.SIGKILL
    with process:
        assert process.wait(120) == 0
    return _begun_at(process)


def _begun_at(process: Process) -> list[int]:
    lines = [line for line in process.log().splitlines() if "rewriting_keys" in line]
    return [int(json.loads(line)["users_done"]) for line in lines]
