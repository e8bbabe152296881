"""The whole suite over a PostgreSQL whose disk can be filled, every process by itself."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from groundswell.client import Deadlines, GroundswellError, event
from tests.support.bundles import ITEMS
from tests.support.postgres import Postgres, postgres
from tests.support.suite import Suite, tiny_items

READY_TIMEOUT_S = 60.0

_SETTINGS = {
    "profile": {"GROUNDSWELL_LEASE_S": "5", "GROUNDSWELL_WORKER": "0"},
    "worker": {"GROUNDSWELL_LEASE_S": "5"},
    "ranker": {"GROUNDSWELL_UPSTREAM_TIMEOUT_S": "0.5"},
}

_DISK_MB = 400
_SKEWED_CLOCK = """\
import os, time
_offset_s, _time, _time_ns = float(os.environ["SKEW_S"]), time.time, time.time_ns
time.time = lambda: _time() + _offset_s
time.time_ns = lambda: _time_ns() + int(_offset_s * 1e9)
"""


class FaultySuite(Suite):
    """Three services and an encoder worker over a PostgreSQL in a file system of its own."""

    def __init__(self, folder: Path, bundles: Path, disk: Path, database: Postgres) -> None:
        super().__init__(
            folder,
            bundles,
            ("profile", "worker", "session", "ranker"),
            database_url=database.new_database(),
            settings=_SETTINGS,
            deadlines=Deadlines(read_s=5, write_s=5),
        )
        self.disk, self.database = disk, database
        self._num_probes = 0

    def restart(self, name: str, **variables: str) -> None:
        """End a process in order and start it again, with variables changed for this run."""
        process = self.processes[name]
        process.stop()
        process.start(variables)

    def skewed_clock(self, seconds: float) -> dict[str, str]:
        """Variables that make a process read a wrong wall clock: Python runs what lies there."""
        folder = self.folder / "skewed-clock"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SKEWED_CLOCK)
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        return {"PYTHONPATH": path, "SKEW_S": str(seconds)}

    def problem(self) -> str:
        """Say what keeps the suite from a whole answer for a user it has never seen; "" if none."""
        self._num_probes += 1
        user = f"probe-{self._num_probes}"
        try:
            results = self.client.record_events(
                [event(user, ITEMS[n][0], "purchase", event_id=f"{user}-{n}") for n in range(3)],
                timeout=2.0,
            )
            if any(result.reason for result in results):
                return f"an event was rejected: {results[0].reason}"
            deadline = time.monotonic() + 2.0
            while True:
                answer = self.client.recommend(user, page_size=5, timeout=2.0)
                if not answer.degradations:
                    return ""
                if time.monotonic() > deadline:
                    return f"degradations {list(answer.degradations)}"
                time.sleep(0.1)
        except GroundswellError as error:
            return f"{error.status.name} {error.reason}"

    def wait_ready(self) -> None:
        """Wait until the suite works whole. Raises AssertionError after a minute."""
        begin = time.monotonic()
        while problem := self.problem():
            assert time.monotonic() - begin < READY_TIMEOUT_S, f"not ready again: {problem}"
            time.sleep(0.1)

    def wait_bundle(self, bundle_id: str) -> None:
        """Wait until the ranker answers with a bundle. Raises AssertionError."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while (served := self.client.recommend("probe-1", timeout=5.0).bundle_id) != bundle_id:
            assert time.monotonic() < deadline, f"{served} is served still"
            time.sleep(0.2)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave the database no byte of its disk."""
        ballast = self.disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024 * 1024))
            except OSError:
                pass
        try:
            yield
        finally:
            ballast.unlink()

    def copy_database(self, target: Path) -> None:
        """Copy the stopped database."""
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.disk / "data"), str(target)], check=True)

    def bring_back(self, backup: Path) -> None:
        """Replace the stopped database by a backup."""
        shutil.rmtree(self.disk / "data")
        subprocess.run(["cp", "-a", str(backup), str(self.disk / "data")], check=True)


@contextmanager
def running_suite(folder: Path, bundles: Path) -> Iterator[FaultySuite]:
    """A serving suite whose catalogue is the tiny bundle's items."""
    with ExitStack() as stack:
        disk = stack.enter_context(_small_disk(folder / "disk"))
        database = stack.enter_context(postgres(disk))
        database.run(
            "ALTER SYSTEM SET max_wal_size = '64MB'; ALTER SYSTEM SET min_wal_size = '32MB'"
        )
        suite = stack.enter_context(FaultySuite(folder, bundles, disk, database))
        suite.client.upsert_items(tiny_items())
        suite.wait_ready()
        yield suite


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own in memory, so that a full disk harms nobody else; needs root."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
