"""Databases of both kinds, and a profile service as a process of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from groundswell.client import GroundswellClient
from tests.integration.profile_service.support import Memory, open_memory, profile_service
from tests.support.postgres import Postgres
from tests.support.suite import Suite, tiny_items

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'groundswell.db'}"
    server: Postgres = request.getfixturevalue("server")
    return server.new_database()


@pytest.fixture
async def memory(database_url: str, tmp_path: Path) -> AsyncIterator[Memory]:
    opened = await open_memory(database_url, tmp_path)
    yield opened
    await opened.database.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("profile")
    with profile_service(folder, bundles) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Suite) -> GroundswellClient:
    """A client of the service, with the items of the tiny bundle in the catalogue."""
    service.client.upsert_items(tiny_items())
    return service.client


@pytest.fixture
async def memory_on_postgres(server: Postgres, tmp_path: Path) -> AsyncIterator[Memory]:
    opened = await open_memory(server.new_database(), tmp_path)
    yield opened
    await opened.database.close()
