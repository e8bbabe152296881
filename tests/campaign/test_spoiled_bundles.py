"""A thousand spoiled bundles: none is opened, and real services go on with the bundle they have."""

import asyncio
import itertools
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore
from groundswell.client import GroundswellError, event
from groundswell.ranker_service.settings import RankerSettings
from tests.support.bundles import tiny_bundle
from tests.support.processes import rss_bytes
from tests.support.spoiled import open_as_servers_do, spoiled
from tests.support.suite import Suite
from tests.support.waiting import eventually

NUM_BUNDLES = 1_000
WARM = 100
"""After so many, memory stays as it is."""
MAX_GROWTH_BYTES = 100 * 1024 * 1024
_POLL = {"GROUNDSWELL_BUNDLE_POLL_S": "0.1"}
_ALL = dict.fromkeys(("profile", "session", "ranker"), _POLL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("whole"), neighbours=True, canary=True)


def test_none_of_a_thousand_is_opened_and_memory_stays_flat(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSWELL_SECRET", "for tests alone, and long enough")
    settings = RankerSettings(bundles=tmp_path)
    refused: Counter[str] = Counter()
    warm_bytes = 0
    for seed in range(NUM_BUNDLES):
        path, kind = spoiled(whole, tmp_path, seed)
        try:
            asyncio.run(open_as_servers_do(path, settings))
        except BundleError as error:
            refused[error.reason] += 1
        else:
            pytest.fail(f"seed {seed} ({kind}) was opened")
        shutil.rmtree(path)
        if seed == WARM:
            warm_bytes = rss_bytes()
    grown = rss_bytes() - warm_bytes
    sys.stdout.write(f"\n{refused.total()} refused: {dict(refused)}; grown by {grown:,} bytes\n")
    assert refused.total() == NUM_BUNDLES
    assert grown < MAX_GROWTH_BYTES


class _Caller:
    """Calls all the time until it is told to end; every answer must be whole, and of one bundle."""

    def __init__(self, suite: Suite, bundle_id: str) -> None:
        self.num_answers = 0
        self.wrong: list[str] = []
        self.ends = threading.Event()
        self._suite, self._bundle_id = suite, bundle_id

    def run(self) -> None:
        for user in itertools.cycle(("ann", "bob")):
            try:
                answer = self._suite.client.recommend(user)
                is_whole = len(answer.recommendations) == 10 and not answer.degradations
                if answer.bundle_id != self._bundle_id or not is_whole:
                    self.wrong.append(str(answer))
            except GroundswellError as error:
                self.wrong.append(str(error))
            self.num_answers += 1
            if self.ends.wait(0.02):
                return


def test_real_services_go_on_through_a_thousand_spoiled_bundles(
    whole: Path, tmp_path: Path
) -> None:
    bundles = tmp_path / "bundles"
    tiny_bundle(bundles, neighbours=True, canary=True)
    with Suite(tmp_path, bundles, settings=_ALL) as suite:
        suite.fill()
        users = [
            event(u, f"item-{n}", event_id=f"{u}{n}") for u in ("ann", "bob") for n in range(5)
        ]
        suite.client.append_events(users)
        eventually(lambda: not suite.client.recommend("ann").degradations, timeout_s=30)
        caller = _Caller(suite, whole.name)
        thread = threading.Thread(target=caller.run)
        thread.start()
        try:
            grown = _point_at_each(suite, whole, bundles)
        finally:
            caller.ends.set()
            thread.join()
    sys.stdout.write(f"\n{caller.num_answers} whole answers meanwhile; grown by {grown} bytes\n")
    assert caller.wrong == []
    assert max(grown.values()) < MAX_GROWTH_BYTES


def _point_at_each(suite: Suite, whole: Path, bundles: Path) -> dict[str, int]:
    """Let `current` name one after the other; return by how much each process has grown."""
    warm: dict[str, int] = {}
    before = None
    for seed in range(NUM_BUNDLES):
        path, kind = spoiled(whole, bundles, seed)
        BundleStore(bundles).set_current(path.name)
        began = time.monotonic()
        while not any(_is_refused(suite, name, path.name) for name in _ALL):
            assert time.monotonic() < began + 60, f"seed {seed} ({kind}) was not refused"
            time.sleep(0.05)
        if before is not None:
            shutil.rmtree(before)
        before = path
        if seed == WARM:
            warm = _sizes(suite)
    return {name: size - warm[name] for name, size in _sizes(suite).items()}


def _is_refused(suite: Suite, name: str, bundle_id: str) -> bool:
    lines = suite.processes[name].log_path.read_bytes()[-100_000:].splitlines()
    return any(b"bundle_refused" in line and bundle_id.encode() in line for line in lines)


def _sizes(suite: Suite) -> dict[str, int]:
    return {name: rss_bytes(process.popen.pid) for name, process in suite.processes.items()}
