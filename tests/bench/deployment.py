"""The processes that the bench measures: real services over a small bundle, and canned ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from groundswell.artifacts.store import load_bundle
from groundswell.client import GroundswellClient, Targets, event, item
from tests.bench.bundle import bench_bundle, bench_items
from tests.bench.canned_server import Answers, write_answers
from tests.support.processes import Process, free_port, service_process

NUM_USERS = 20
EVENTS_PER_USER = 120

_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Deployment:
    """Where the services listen, and the ids of the items that they know."""

    profile: str
    session: str
    bundles: Path
    item_ids: list[str]


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Start profile and session service with a catalogue and users who have profiles."""
    bundles = bench_bundle()
    profile_port, session_port = free_port(), free_port()
    profile = service_process(
        "groundswell.profile_service",
        profile_port,
        bundles,
        folder / "profile.log",
        {"GROUNDSWELL_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'bench.db'}"},
    )
    targets = Targets(profile=f"127.0.0.1:{profile_port}", session=f"127.0.0.1:{session_port}")
    # What is measured is the call, not how often a window is looked up again.
    settings = {"GROUNDSWELL_PROFILE_ADDRESS": targets.profile, "GROUNDSWELL_WINDOW_TTL_S": "3600"}
    session = service_process(
        "groundswell.session_service", session_port, bundles, folder / "session.log", settings
    )
    with profile, session, GroundswellClient(targets) as client:
        profile.wait_serving(targets.profile)
        session.wait_serving(targets.session)
        _fill(client)
        item_ids = load_bundle(bundles).item_ids
        yield Deployment(targets.profile, targets.session, bundles, item_ids)


def _fill(client: GroundswellClient) -> None:
    items = bench_items()
    client.upsert_items(
        [item(item_id, title, categories=categories) for item_id, title, categories in items]
    )
    for user in range(NUM_USERS):
        client.append_events(
            [
                event(
                    f"user-{user}",
                    items[(7 * n + user) % len(items)][0],
                    time=_START + timedelta(minutes=11 * n),
                )
                for n in range(EVENTS_PER_USER)
            ]
        )
    for _ in client.refresh_profiles():
        pass


@contextmanager
def canned(folder: Path, answers: Answers) -> Iterator[str]:
    """Start a server that answers at once; give its address."""
    port = free_port()
    path = folder / f"answers-{port}.json"
    write_answers(path, answers)
    arguments = ["-m", "tests.bench.canned_server", str(port), str(path)]
    address = f"127.0.0.1:{port}"
    with Process(arguments, {}, folder / f"canned-{port}.log") as process:
        process.wait_serving(address)
        yield address
