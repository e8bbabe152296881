"""A long command that is interrupted ends with status 130 and says how to go on."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from groundswell.cli import connection
from groundswell.cli.app import app
from groundswell.cli.demo import run
from groundswell.cli.imports import deletion, events, items
from groundswell.profile_service import upkeep
from groundswell.profile_service.store.database import Database
from groundswell.trainer import grid, train
from groundswell.trainer.dataset import prepare
from groundswell.trainer.loop import checkpoint
from groundswell.trainer.text_encoder import probe
from tests.support.worlds import prepared_world


def interrupted(*_: Any, **__: Any) -> Any:
    """Stand for work that Ctrl-C ends."""
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_world(tmp_path_factory.mktemp("world"))


CASES = {
    "demo": (run, "run_demo", [], "everything has ended"),
    "prepare": (
        prepare,
        "prepare",
        ["--events", "e.csv", "--items", "i.csv", "--out", "out"],
        "out holds what it held before, or all of the new data: run it again",
    ),
    "train": (
        train,
        "train",
        ["--data", "{data}", "--bundles", "b"],
        "no epoch was done: run it again",
    ),
    "grid": (
        grid,
        "try_settings",
        ["--data", "{data}", "--out", "g"],
        "the same command goes on where it stopped",
    ),
    "text-probe": (
        probe,
        "probe",
        ["--items", "i.csv", "--keep", "kept"],
        "the same command goes on from what kept holds",
    ),
    "events import": (
        events,
        "import_log",
        ["e.csv"],
        "the same command goes on where it stopped, and stores nothing twice",
    ),
    "items import": (
        items,
        "import_catalogue",
        ["i.csv"],
        "run it again: what is written stays, and is written again",
    ),
    "items delete": (
        deletion,
        "delete",
        ["a"],
        "run it again: what is deleted stays deleted",
    ),
}


@pytest.mark.parametrize("command", CASES)
def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("i.csv").write_text("item_id,title\ni,One\n")
    module, name, arguments, said = CASES[command]
    monkeypatch.setattr(module, name, interrupted)
    monkeypatch.setattr(connection, "address_problem", lambda _: None)
    given = [one.format(data=data) for one in arguments]
    ended = CliRunner().invoke(app, [*command.split(), *given])
    assert ended.exit_code == 130
    assert ended.stderr.splitlines() == [f"groundswell: interrupted; {said}"]


def test_a_training_with_a_checkpoint_names_the_option_that_goes_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "train", interrupted)
    (tmp_path / checkpoint.FILE).touch()
    ended = CliRunner().invoke(app, ["train", "--data", str(data), "--bundles", str(tmp_path)])
    assert ended.exit_code == 130
    assert ended.stderr == (
        "groundswell: interrupted; the same command with --resume goes on after the last epoch "
        "that was done\n"
    )


async def test_a_rotation_says_that_it_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'groundswell.db'}")
    await database.open()
    await database.close()
    (tmp_path / "secret").write_text("a secret of this test")
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setattr(upkeep, "needs_new_secret", interrupted)
    ended = CliRunner().invoke(app, ["db", "rotate-secret", "--state", str(tmp_path)])
    assert ended.exit_code == 130
    said = "groundswell: interrupted; the same command goes on where it stopped\n"
    assert ended.stderr.lstrip() == said
