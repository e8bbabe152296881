"""The processes that the bench measures: real services over a small bundle, and canned ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from groundswell.client import GroundswellClient, Targets, item
from tests.bench.canned_server import Answers, write_answers
from tests.bench.world import World, world
from tests.support.processes import Process, free_port, service_process

_MAX_ITEMS = 1_000


@dataclass(frozen=True)
class Deployment:
    """Where the services listen, and the world that they hold."""

    profile: str
    session: str
    world: World


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Start profile and session service with a catalogue and users who have profiles."""
    served = world()
    profile_port, session_port = free_port(), free_port()
    profile = service_process(
        "groundswell.profile_service",
        profile_port,
        served.bundles,
        folder / "profile.log",
        {"GROUNDSWELL_DATABASE_URL": f"sqlite+aiosqlite:///{served.database}"},
    )
    targets = Targets(profile=f"127.0.0.1:{profile_port}", session=f"127.0.0.1:{session_port}")
    # What is measured is the call, not how often a window is looked up again.
    settings = {"GROUNDSWELL_PROFILE_ADDRESS": targets.profile, "GROUNDSWELL_WINDOW_TTL_S": "3600"}
    session = service_process(
        "groundswell.session_service",
        session_port,
        served.bundles,
        folder / "session.log",
        settings,
    )
    with profile, session, GroundswellClient(targets) as client:
        profile.wait_serving(targets.profile)
        session.wait_serving(targets.session)
        items = [item(i, title, categories=names) for i, title, names in served.items]
        for start in range(0, len(items), _MAX_ITEMS):
            client.upsert_items(items[start : start + _MAX_ITEMS])
        for _ in client.import_events(served.events()):
            pass
        for _ in client.refresh_profiles():
            pass
        yield Deployment(targets.profile, targets.session, served)


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
