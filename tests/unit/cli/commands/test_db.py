"""groundswell db: tells a database that it was restored, and changes its secret."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from groundswell.cli.app import app
from groundswell.cli.failures import CommandError
from groundswell.cli.suite.state import State
from groundswell.profile_service.identity.secret_keys import is_rotated
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.identity import read_lineage
from groundswell.profile_service.upkeep import needs_new_secret, rotate_secret
from groundswell.serving.pseudonym import Pseudonymizer


def command(*arguments: str) -> Result:
    environment = {"GROUNDSWELL_DATABASE_URL": "", "GROUNDSWELL_SECRET": "of the environment here"}
    return CliRunner().invoke(app, ["db", *arguments], env=environment)


async def opened(state: State) -> str:
    """Make the database if there is none; return its lineage."""
    state.secrets()
    database = Database(state.database_url)
    await database.open()
    lineage = await database.read(read_lineage)
    await database.close()
    return lineage


async def rotated(state: State) -> bool:
    database = Database(state.database_url)
    await database.open()
    done = await is_rotated(database, Pseudonymizer(*state.secrets()))
    await database.close()
    return done


def lineage_of(folder: Path) -> str:
    with State(folder) as state:
        return asyncio.run(opened(state))


def test_a_restored_state_begins_a_new_lineage(tmp_path: Path) -> None:
    before = lineage_of(tmp_path)
    ended = command("restored", "--state", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    after = lineage_of(tmp_path)
    assert after != before
    assert after in ended.output


def test_a_state_gets_a_newer_secret_and_an_unfinished_change_is_finished_first(
    tmp_path: Path,
) -> None:
    lineage_of(tmp_path)
    for expected in (2, 3):
        ended = command("rotate-secret", "--state", str(tmp_path))
        assert ended.exit_code == 0, ended.output
        assert "All 0 users" in ended.output
        with State(tmp_path) as state:
            assert len(state.secrets()) == expected
            assert asyncio.run(rotated(state))
    with State(tmp_path) as state:
        # As if the command had been ended between the file and the database.
        state.add_secret()
        secrets = state.secrets()
        assert not asyncio.run(needs_new_secret(state.database_url, secrets))
        asyncio.run(rotate_secret(state.database_url, secrets, None, lambda *_: None))
        assert asyncio.run(needs_new_secret(state.database_url, secrets))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("restored",), "name the database"),
        (("restored", "--state", "{folder}/none"), "holds no database"),
        (("rotate-secret", "--state", "{folder}/none"), "holds no database"),
        (("restored", "--database-url", "sqlite+aiosqlite:///{folder}/none/x.db"), "none"),
        (("restored", "--database-url", "mysql://somewhere/x"), "neither sqlite+aiosqlite nor"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    ended = command(*(a.format(folder=tmp_path) for a in arguments))
    assert isinstance(ended.exception, CommandError)
    assert told in str(ended.exception)
    assert len(str(ended.exception).splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_not_there_becomes_no_database(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'typo.db'}"
    for name in ("restored", "rotate-secret"):
        ended = command(name, "--database-url", url)
        assert isinstance(ended.exception, CommandError)
        assert f"there is no database at {tmp_path / 'typo.db'}" in str(ended.exception)
    assert not list(tmp_path.iterdir())


def test_a_database_without_its_secret_gets_no_other_one(tmp_path: Path) -> None:
    lineage_of(tmp_path)
    (tmp_path / "secret").unlink()
    ended = command("rotate-secret", "--state", str(tmp_path))
    assert isinstance(ended.exception, CommandError)
    assert f"put {tmp_path / 'secret'} back" in str(ended.exception)
    assert not (tmp_path / "secret").exists()
