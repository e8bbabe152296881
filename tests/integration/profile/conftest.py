"""Databases of both kinds, and a profile service as a process of its own."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.client import GroundswellClient, Targets
from groundswell.profile_service.events import EventLog
from groundswell.profile_service.items import Catalogue
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.signals import Signals
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker import Worker
from groundswell.serving.pseudonym import Pseudonymizer
from tests.support.bundles import tiny_bundle
from tests.support.postgres import Postgres, postgres
from tests.support.processes import SECRET, Process, free_port, service_process

DATABASES = ("sqlite", "postgresql")
SPEC = Spec("a text encoder:fp32:1", 4)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'groundswell.db'}"
    server: Postgres = request.getfixturevalue("server")
    return server.new_database()


class CountingEncoder:
    """Stands for the text encoder where a test counts what is encoded: a hash of each text."""

    dimension = 8

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.poison: str | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts and remember them; fails on a batch that holds the poison."""
        if self.poison is not None and any(self.poison in text for text in texts):
            raise RuntimeError("poison")
        self.texts.extend(texts)
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.array(rows, np.float32).reshape(-1, 8)


@dataclass
class Memory:
    """The profile service's use cases over one database, as one process has them."""

    database: Database
    log: EventLog
    catalogue: Catalogue
    signals: Signals
    settings: ProfileSettings

    def worker(self, encoder: CountingEncoder, lease_s: float = 60.0) -> Worker:
        """A worker over this database."""
        settings = self.settings.model_copy(update={"lease_s": lease_s})
        return Worker(self.database, encoder, SPEC, settings, self.signals)


async def open_memory(url: str, bundles: Path) -> Memory:
    """Open the use cases over a database, migrated."""
    database = Database(url)
    await database.open()
    signals = Signals()
    log = EventLog(database, Pseudonymizer(SECRET), signals)
    catalogue = Catalogue(database, signals, 0.05)
    settings = ProfileSettings.model_validate(
        {"secret": SECRET, "bundles": bundles, "database_url": url}
    )
    return Memory(database, log, catalogue, signals, settings)


@pytest.fixture
async def memory(database_url: str, tmp_path: Path) -> AsyncIterator[Memory]:
    opened = await open_memory(database_url, tmp_path)
    yield opened
    await opened.database.close()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    tiny_bundle(root)
    return root


@dataclass
class Service:
    """A profile service and a client of it."""

    process: Process
    address: str
    client: GroundswellClient
    folder: Path

    def start(self) -> None:
        """Start the process, or start it again, and wait until it serves."""
        self.process.start()
        self.process.wait_serving(self.address)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("profile")
    port = free_port()
    address = f"127.0.0.1:{port}"
    process = service_process(
        "groundswell.profile_service",
        port,
        bundles,
        folder / "log",
        {"GROUNDSWELL_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'groundswell.db'}"},
    )
    targets = Targets(profile=address, session="127.0.0.1:1", ranker="127.0.0.1:1")
    with GroundswellClient(targets) as client, process:
        process.wait_serving(address)
        yield Service(process, address, client, folder)
