"""Commands and services refuse a database that is not theirs, and change nothing in it."""

from pathlib import Path

import pytest
from sqlalchemy import inspect
from typer.testing import CliRunner

from groundswell.cli.app import app
from groundswell.cli.failures import CommandError
from groundswell.profile_service.identity.secret_keys import check_secrets
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.upkeep import (
    begin_new_lineage,
    needs_new_secret,
    rotate_secret,
)
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import StartError
from tests.integration.profile_service.support import Memory, reading
from tests.support.postgres import Postgres
from tests.support.processes import SECRET, Process
from tests.support.suite import Suite


async def tables(url: str) -> list[str]:
    database = Database(url)
    async with reading(database) as connection:
        names: list[str] = await connection.run(lambda c: inspect(c).get_table_names())
    await database.close()
    return names


@pytest.fixture
def other(database_url: str) -> str:
    """The URL of a database that is there, and holds nothing of the suite."""
    if database_url.startswith("sqlite"):
        Path(database_url.partition(":///")[2]).touch()
    return database_url


async def test_a_database_without_the_tables_is_refused_and_gets_none(other: str) -> None:
    with pytest.raises(StartError, match="holds no tables of the profile service") as refused:
        await begin_new_lineage(other)
    assert refused.value.reason == "DATABASE_NEW"
    with pytest.raises(StartError, match="holds no tables"):
        await rotate_secret(other, [SECRET], None, lambda *_: None)
    with pytest.raises(StartError, match="holds no tables"):
        await needs_new_secret(other, [SECRET])
    assert await tables(other) == []


async def test_a_database_that_a_service_has_used_is_taken(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    await database.close()
    assert await begin_new_lineage(database_url)
    assert await rotate_secret(database_url, [SECRET], None, lambda *_: None) == 0


@pytest.mark.parametrize("name", ["restored", "rotate-secret"])
def test_the_command_names_the_database_without_its_password(server: Postgres, name: str) -> None:
    url = server.new_database()
    schema = url.rpartition("%3D")[2]
    with_password = url.replace("postgres:@", "postgres:hush-hush@")
    environment = {"GROUNDSWELL_SECRET": SECRET, "GROUNDSWELL_PREVIOUS_SECRETS": ""}
    ended = CliRunner().invoke(app, ["db", name, "--database-url", with_password], env=environment)
    assert isinstance(ended.exception, CommandError)
    assert "holds no tables of the profile service" in str(ended.exception)
    assert schema in str(ended.exception)
    assert "hush-hush" not in str(ended.exception)


@pytest.mark.parametrize("name", ["restored", "rotate-secret"])
def test_the_services_own_commands_make_no_file(tmp_path: Path, name: str) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'typo.db'}"
    settings = {"GROUNDSWELL_DATABASE_URL": url, "GROUNDSWELL_SECRET": SECRET}
    arguments = ["-m", "groundswell.profile_service", name]
    with Process(arguments, settings, tmp_path / "log") as process:
        assert process.wait(60) == 1
    assert f"there is no database at {tmp_path / 'typo.db'}" in process.log()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


async def test_a_service_with_another_secret_does_not_start_and_says_what_to_do(
    memory: Memory, bundles: Path, tmp_path: Path
) -> None:
    await check_secrets(memory.database, Pseudonymizer("another secret of the tests"))
    await memory.database.close()
    suite = Suite(tmp_path, bundles, ("profile",), database_url=memory.settings.database_url)
    with suite.profile as process:
        assert process.wait(30) == 1
    for said in ('"SECRET_CHANGED"', "GROUNDSWELL_SECRET is not the secret", "rotate-secret"):
        assert said in process.log()
    assert "Traceback" not in process.log()
