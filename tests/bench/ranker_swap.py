"""The lines "ranker.swap": swaps of bundles under load, over real processes and two replicas."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.client import Deadlines, GroundswellClient, GroundswellError, Targets, event
from groundswell.ranker.v1.ranker_service_pb2 import RecommendResponse
from tests.bench.harness import Line
from tests.support.bundles import tiny_bundle
from tests.support.processes import Process, free_port, service_process
from tests.support.shared import use_run_folder
from tests.support.suite import tiny_items

_NUM_SWAPS = 50
_NUM_CALLERS = 2
_PAUSE_S = 0.01
_ALONE_S = 10.0
_START_TIMEOUT_S = 120.0
_SWAP_TIMEOUT_S = 60.0
_USERS = [f"user-{number}" for number in range(20)]
_SETTINGS = {
    "GROUNDSWELL_BUNDLE_SETTINGS_S": "0.2",
    # Of three bundles in turn, none is held any more when it comes again: each is loaded.
    "GROUNDSWELL_MAX_BUNDLES": "2",
}


@dataclass
class _Calls:
    """What callers got."""

    times_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    answers: list[tuple[str, RecommendResponse]] = field(default_factory=list)
    ends: threading.Event = field(default_factory=threading.Event)

    def run(self, address: str, first: int) -> None:
        """Call as one user after the other, until it ends."""
        targets = Targets(ranker=address)
        with GroundswellClient(targets, deadlines=Deadlines(read_s=1.0)) as client:
            number = first
            while not self.ends.is_set():
                user, number = _USERS[number % len(_USERS)], number + 1
                started = time.perf_counter()
                try:
                    self.answers.append((user, client.recommend(user, fusion_weight=0.5)))
                except GroundswellError as error:
                    self.failures.append(str(error))
                self.times_ms.append((time.perf_counter() - started) * 1e3)
                time.sleep(_PAUSE_S)


@contextmanager
def _called(address: str) -> Iterator[_Calls]:
    """Call in the background meanwhile."""
    calls = _Calls()
    threads = [
        threading.Thread(target=calls.run, args=(address, n * len(_USERS) // _NUM_CALLERS))
        for n in range(_NUM_CALLERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        calls.ends.set()
        for thread in threads:
            thread.join()


def measure(folder: Path) -> list[Line]:
    """Swap between three bundles while callers ask; check every answer against its bundle."""
    use_run_folder(folder / "shared")
    paths = [tiny_bundle(folder / f"made-{seed}", seed=seed) for seed in range(3)]
    for path in paths:
        shutil.copytree(path, folder / "bundles" / path.name)
    store = BundleStore(folder / "bundles")
    store.set_current(paths[0].name)
    with _processes(folder) as (client, ranker):
        with _called(ranker) as alone:
            time.sleep(_ALONE_S)
        took_s = []
        with _called(ranker) as calls:
            for number in range(1, _NUM_SWAPS + 1):
                took_s.append(_swap(client, store, paths[number % len(paths)].name))
        expected = {}
        for path in paths:
            _swap(client, store, path.name)
            expected[path.name] = _expected(client, load_bundle(path))
    short = sum(bool(one.degradations) for _, one in calls.answers)
    mixed = sum(_is_mixed(user, one, expected) for user, one in calls.answers)
    num_bundles = len({one.bundle_id for _, one in calls.answers})
    if num_bundles != len(paths) or not alone.answers:
        raise RuntimeError("the answers are not of all bundles")
    while_ms, alone_ms = (np.percentile(one.times_ms, (50, 99)) for one in (calls, alone))
    p50, p99 = (float(ratio) for ratio in while_ms / alone_ms)
    unit = f"of {len(calls.times_ms):,} calls during {len(took_s)} swaps"
    return [
        Line("ranker.swap", p50, "× without swaps"),
        Line("ranker.swap.p99", p99, f"× without swaps, {alone_ms[1]:.1f} ms"),
        Line("ranker.swap.failed", len(calls.failures) + len(alone.failures), unit).at_most(0),
        Line("ranker.swap.mixed", mixed, unit).at_most(0),
        Line("ranker.swap.degraded", short, unit).at_most(0),
        Line("ranker.swap.seconds", float(np.median(took_s)), "s for a swap, median"),
    ]


def _swap(client: GroundswellClient, store: BundleStore, bundle_id: str) -> float:
    """Put a bundle into service; return after how many seconds it ranks."""
    began = time.perf_counter()
    store.set_current(bundle_id)
    while client.model("ranker").model.bundle_id != bundle_id:
        if time.perf_counter() > began + _SWAP_TIMEOUT_S:
            raise RuntimeError(f"{bundle_id} does not come into service")
        time.sleep(0.05)
    return time.perf_counter() - began


def _is_mixed(
    user: str, answer: RecommendResponse, expected: dict[str, dict[str, dict[str, float]]]
) -> bool:
    """Whether a score is not that of the user's and the item's vectors in the answer's bundle."""
    of_user = expected[answer.bundle_id][user]
    return not all(abs(one.score - of_user[one.item_id]) < 1e-3 for one in answer.recommendations)


def _expected(client: GroundswellClient, bundle: Bundle) -> dict[str, dict[str, float]]:
    """Compute every user's score of every item with one bundle's vectors, fused half and half."""
    scores = {}
    for user in _USERS:
        short = client.encode_session(user, bundle_id=bundle.id).vector
        long = client.get_profile(user, bundle_id=bundle.id).vector
        vectors = [np.frombuffer(one.values, "<f4").astype(np.float64) for one in (short, long)]
        fused = bundle.item_vectors.astype(np.float64) @ np.mean(vectors, axis=0)
        scores[user] = dict(zip(bundle.item_ids, fused.tolist(), strict=True))
    return scores


@contextmanager
def _processes(folder: Path) -> Iterator[tuple[GroundswellClient, str]]:
    """Start profile service, two session services and ranker; give a client and its address."""
    profile_port, ranker_port, *session_ports = (free_port() for _ in range(4))
    profile, ranker = f"127.0.0.1:{profile_port}", f"127.0.0.1:{ranker_port}"
    sessions = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in session_ports)
    known = _SETTINGS | {"GROUNDSWELL_PROFILE_ADDRESS": profile}
    database = {
        "GROUNDSWELL_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'groundswell.db'}",
        "GROUNDSWELL_ENCODER_BACKEND": "onnx",
    }

    def service(name: str, port: int, settings: dict[str, str]) -> Process:
        log = folder / f"{name}-{port}.log"
        module = f"groundswell.{name}_service"
        return service_process(module, port, folder / "bundles", log, settings)

    with ExitStack() as stack:
        first = stack.enter_context(service("profile", profile_port, _SETTINGS | database))
        first.wait_serving(profile, timeout=_START_TIMEOUT_S)
        targets = Targets(profile=profile, session=sessions, ranker=ranker)
        client = stack.enter_context(GroundswellClient(targets, deadlines=Deadlines(read_s=10)))
        client.upsert_items(tiny_items())
        for port in session_ports:
            one = stack.enter_context(service("session", port, known))
            one.wait_serving(f"127.0.0.1:{port}", timeout=_START_TIMEOUT_S)
        last = stack.enter_context(
            service("ranker", ranker_port, known | {"GROUNDSWELL_SESSION_ADDRESS": sessions})
        )
        last.wait_serving(ranker, timeout=_START_TIMEOUT_S)
        for number, user in enumerate(_USERS):
            client.append_events(
                [event(user, f"item-{(number + n) % 30}", event_id=f"{user} {n}") for n in range(5)]
            )
        for _ in client.refresh_profiles():
            pass
        yield client, ranker
