"""profile.workers: two encoder workers over one PostgreSQL against one, a thread each."""

import signal
import time
from contextlib import ExitStack
from pathlib import Path

from groundswell.client import Deadlines, item
from tests.bench.harness import Line
from tests.bench.world import world
from tests.support.postgres import Postgres, postgres
from tests.support.suite import Suite

_MIN_SPEED_UP = 1.6
_MAX_ITEMS = 1_000


def measure(folder: Path) -> list[Line]:
    """Measure the time from the first claim until nothing is stale any more."""
    (folder / "server").mkdir(mode=0o755)
    with postgres(folder / "server", durable=True) as server:
        alone_s, both_s = (_seconds(server, folder / str(n), n) for n in (1, 2))
    speed_up = alone_s / both_s
    unit = "× one worker's work/s"
    return [
        Line("profile.workers", speed_up, unit, _MIN_SPEED_UP, speed_up >= _MIN_SPEED_UP),
        Line("profile.workers.seconds", both_s, f"s, where one worker takes {alone_s:.1f}"),
    ]


def _seconds(server: Postgres, folder: Path, num_workers: int) -> float:
    """Let so many workers encode the world from nothing."""
    folder.mkdir()
    url, bundles = server.new_database(), world().bundles
    settings = {"profile": {"GROUNDSWELL_WORKER": "false"}}
    filling = Suite(
        folder, bundles, ("profile",), database_url=url, settings=settings, deadlines=Deadlines()
    )
    workers = [_worker(folder / f"worker-{n}", url) for n in range(num_workers)]
    with ExitStack() as stack:
        suite = stack.enter_context(filling)
        for worker in workers:
            stack.enter_context(worker)
            # A process that stands still cannot end.
            stack.callback(_send, worker, signal.SIGCONT)
            # It is ready, and stands still while there is nothing to measure.
            _send(worker, signal.SIGSTOP)
        _fill(suite)
        began = time.perf_counter()
        for worker in workers:
            _send(worker, signal.SIGCONT)
        suite.refresh()
        return time.perf_counter() - began


def _worker(folder: Path, url: str) -> Suite:
    folder.mkdir()
    return Suite(folder, world().bundles, ("worker",), database_url=url)


def _send(worker: Suite, number: signal.Signals) -> None:
    worker.processes["worker"].popen.send_signal(number)


def _fill(suite: Suite) -> None:
    items = [item(i, title, categories=names) for i, title, names in world().items]
    for start in range(0, len(items), _MAX_ITEMS):
        suite.client.upsert_items(items[start : start + _MAX_ITEMS])
    for _ in suite.client.import_events(world().events()):
        pass
