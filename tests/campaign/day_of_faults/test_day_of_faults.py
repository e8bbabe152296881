"""A day on which everything fails once, under load, and what was seen of each fault."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from groundswell.artifacts.store import BundleStore
from tests.campaign.day_of_faults.load import USERS, Journal, Load
from tests.campaign.day_of_faults.suite import FaultySuite, running_suite
from tests.support.bundles import tiny_bundle
from tests.support.cli import groundswell
from tests.support.processes import SECRET

READY_S = 10.0
_FAULT_S = 3.0

Fault = Callable[["Day"], Iterator[None]]


@dataclass
class Day:
    """What the faults work on."""

    suite: FaultySuite
    load: Load
    journal: Journal
    bundles: list[str]

    @property
    def store(self) -> BundleStore:
        """The folder of bundles that every process follows."""
        return BundleStore(self.suite.bundles)


@dataclass(frozen=True)
class Seen:
    """What a fault did."""

    fault: str
    outcomes: Counter[str]
    ready_after_s: float
    """From when its cause begins to be taken away."""


def database_restarted(day: Day) -> Iterator[None]:
    """The database is away for three seconds"""
    day.suite.database.stop()
    yield
    day.suite.database.start()


def connections_ended(day: Day) -> Iterator[None]:
    """The database ends every connection, again and again"""
    for _ in range(3):
        day.suite.database.end_connections()
        time.sleep(0.3)
    yield


def database_read_only(day: Day) -> Iterator[None]:
    """The database takes no writes, as in a failover"""
    day.suite.database.set_read_only(True)
    yield
    day.suite.database.set_read_only(False)


def disk_full(day: Day) -> Iterator[None]:
    """The disk of the database is full"""
    with day.suite.full_disk():
        yield


def bundle_swapped(day: Day) -> Iterator[None]:
    """Another bundle becomes current"""
    day.store.set_current(day.bundles[1])
    yield
    day.suite.wait_bundle(day.bundles[1])


def bundle_corrupted(day: Day) -> Iterator[None]:
    """A bundle with one flipped bit becomes current"""
    folder = day.store.path(day.bundles[2])
    broken = folder / "item_vectors.npy"
    content = bytearray(broken.read_bytes())
    content[-1] ^= 1
    broken.write_bytes(content)
    day.store.set_current(day.bundles[2])
    yield
    day.suite.wait_bundle(day.bundles[1])
    day.store.set_current(day.bundles[1])


def bundle_rolled_back(day: Day) -> Iterator[None]:
    """The bundle before becomes current again"""
    day.store.set_current(day.bundles[0])
    yield
    day.suite.wait_bundle(day.bundles[0])


def killed(name: str) -> Fault:
    def fault(day: Day) -> Iterator[None]:
        day.suite.processes[name].kill()
        yield
        day.suite.start(name)

    fault.__doc__ = f"kill -9 of the {name} process"
    return fault


def secret_changed(day: Day) -> Iterator[None]:
    """The profile service is started with another secret, which it refuses"""
    profile = day.suite.processes["profile"]
    profile.stop()
    profile.start({"GROUNDSWELL_SECRET": "another secret than the one before"})
    assert profile.wait(30) == 1
    assert "GROUNDSWELL_SECRET" in profile.log().splitlines()[-1]
    yield
    profile.start()


def clock_ahead(day: Day) -> Iterator[None]:
    """The clocks of profile service and worker are a year ahead"""
    skew = day.suite.skewed_clock(365 * 86_400)
    for name in ("profile", "worker"):
        day.suite.restart(name, **skew)
    yield
    for name in ("profile", "worker"):
        day.suite.restart(name)


def backup_restored(day: Day) -> Iterator[None]:
    """The database is replaced by a backup of some seconds before"""
    suite, backup = day.suite, day.suite.folder / "backup"
    suite.database.stop()
    suite.copy_database(backup)
    suite.database.start()
    num_before = len(day.journal.acknowledged)
    time.sleep(_FAULT_S)
    suite.database.stop()
    suite.bring_back(backup)
    suite.database.start()
    done = groundswell("db", "restored", "--database-url", suite.database_url)
    assert done.returncode == 0, done.stderr
    yield
    # A backend sends again what it was told since the backup: the events keep their ids.
    suite.wait_ready()
    lost = day.journal.acknowledged[num_before:]
    assert lost
    for start in range(0, len(lost), 100):
        suite.client.record_events(lost[start : start + 100], timeout=5.0)


def secret_rotated(day: Day) -> Iterator[None]:
    """The secret is changed as the guide says, and every user's key is rewritten"""
    secrets = {
        "GROUNDSWELL_SECRET": "the secret of the years to come",
        # A line of its own, since it holds a comma.
        "GROUNDSWELL_PREVIOUS_SECRETS": f"{SECRET}\n",
    }
    for name in day.suite.processes:
        day.suite.restart(name, **secrets)
    environment = {**secrets, "GROUNDSWELL_DATABASE_URL": day.suite.database_url}
    done = groundswell("db", "rotate-secret", environment=environment)
    assert done.returncode == 0, done.stderr
    yield


FAULTS: tuple[Fault, ...] = (
    database_restarted,
    connections_ended,
    database_read_only,
    disk_full,
    *(killed(name) for name in ("profile", "worker", "session", "ranker")),
    bundle_swapped,
    bundle_corrupted,
    bundle_rolled_back,
    secret_changed,
    clock_ahead,
    backup_restored,
    secret_rotated,
)


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    """A suite under load, with three bundles of which the first is current."""
    bundles = tmp_path / "bundles"
    ids = [tiny_bundle(tmp_path / str(seed), seed=seed).name for seed in range(3)]
    for seed, bundle_id in enumerate(ids):
        shutil.copytree(tmp_path / str(seed) / bundle_id, bundles / bundle_id)
    BundleStore(bundles).set_current(ids[0])
    with running_suite(tmp_path, bundles) as suite:
        journal = Journal(tmp_path / "journal")
        load = Load(suite.client, journal)
        load.start()
        try:
            yield Day(suite, load, journal, ids)
        finally:
            load.stop()


def test_a_day_of_faults_loses_nothing_and_everything_recovers(day: Day) -> None:
    seen = [_endure(day, fault) for fault in FAULTS]
    day.load.stop()
    Console(width=140).print(_table(seen))
    stored = {
        user: [one.event.event_id for one in day.suite.client.list_events(user, timeout=10)]
        for user in (f"user-{n}" for n in range(USERS))
    }
    lost = [e for e in day.journal.acknowledged if e.event_id not in stored[e.user_id]]
    twice = [user for user, ids in stored.items() if len(ids) != len(set(ids))]
    assert len(day.journal.acknowledged) > 100
    assert (lost, twice, day.load.leaks) == ([], [], [])
    late = [one for one in seen if one.ready_after_s > READY_S]
    assert not late


def _endure(day: Day, fault: Fault) -> Seen:
    """Cause a fault, keep it for a while, take it away, and wait until all works again."""
    Console().print(f"{fault.__doc__} …")
    day.load.take_outcomes()
    with contextmanager(fault)(day):
        time.sleep(_FAULT_S)
        begin = time.monotonic()
    day.suite.wait_ready()
    ready_after_s = time.monotonic() - begin
    assert day.load.is_alive()
    return Seen(fault.__doc__ or "", day.load.take_outcomes(), ready_after_s)


def _table(seen: list[Seen]) -> Table:
    table = Table(title="A day of faults")
    table.add_column("fault")
    table.add_column("answers while it lasted, and until all worked again")
    table.add_column("ready after", justify="right")
    for one in seen:
        outcomes = ", ".join(f"{number} {name}" for name, number in one.outcomes.most_common())
        table.add_row(one.fault, outcomes, f"{one.ready_after_s:.1f} s")
    return table
