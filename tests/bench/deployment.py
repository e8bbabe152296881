"""The processes that the bench measures: real services over a small bundle, and canned ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from groundswell.cli.suite.door import LocalDoor
from groundswell.client import Deadlines, item
from tests.bench.canned_server import Answers, write_answers
from tests.bench.world import World, world
from tests.support.processes import Process, free_port
from tests.support.suite import Suite

_MAX_ITEMS = 1_000


@dataclass(frozen=True)
class Deployment:
    """Where the services listen, and the world that they hold."""

    profile: str
    session: str
    world: World


@contextmanager
def deployed(folder: Path, session: Mapping[str, str] | None = None) -> Iterator[Deployment]:
    """Start profile and session service with a catalogue and users who have profiles.

    `session` are more variables for the session service.
    """
    served = world()
    with Suite(
        folder,
        served.bundles,
        ("profile", "session"),
        database_url=f"sqlite+aiosqlite:///{served.database}",
        # What is measured is the call, not how often a window is looked up again.
        settings={"session": {"GROUNDSWELL_WINDOW_TTL_S": "3600", **(session or {})}},
        deadlines=Deadlines(),
    ) as suite:
        items = [item(i, title, categories=names) for i, title, names in served.items]
        for start in range(0, len(items), _MAX_ITEMS):
            suite.client.upsert_items(items[start : start + _MAX_ITEMS])
        for _ in suite.client.import_events(served.events()):
            pass
        suite.refresh()
        yield Deployment(suite.targets.profile, suite.targets.session, served)


@contextmanager
def canned(folder: Path, answers: Answers, door: LocalDoor | None = None) -> Iterator[str]:
    """Start a server that answers at once, with `door` over TLS; give its address."""
    port = free_port()
    path = folder / f"answers-{port}.json"
    write_answers(path, answers)
    arguments = ["-m", "tests.bench.canned_server", str(port), str(path)]
    address = f"127.0.0.1:{port}"
    variables, tls = ({}, None) if door is None else (door.of_services(), door.tls)
    with Process(arguments, variables, folder / f"canned-{port}.log") as process:
        process.wait_serving(address, tls=tls)
        yield address
