"""`groundswell grid` as a person runs it: on a small log, twice, and wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from groundswell.artifacts.store import load_bundle
from groundswell.cli.app import app
from groundswell.trainer import grid
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.errors import DataError
from groundswell.trainer.loop.checkpoint import FILE
from tests.support.text_encoders import with_export
from tests.support.worlds import prepared_world

SMALL = (
    *("dimension=16", "width=16", "num_blocks=1", "window_length=12", "chunk_length=4"),
    *("max_epochs=1", "gate=constant", "precision=float32"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_export(prepared_world(tmp_path_factory.mktemp("world")))


def run(data: Path, folder: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """Return the rows and what was printed."""
    file = folder / "figures.json"
    fixed = [f"--set={setting}" for setting in SMALL]
    arguments = ["grid", "--data", str(data), "--out", str(folder / "grid"), *fixed, *options]
    done = CliRunner().invoke(
        app, [*arguments, "--json", str(file)], env={"COLUMNS": "160"}, catch_exceptions=False
    )
    assert done.exit_code == 0
    return json.loads(file.read_text()), done.output


@pytest.fixture(scope="module")
def first(
    world: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]], str]:
    folder = tmp_path_factory.mktemp("grid")
    return folder, *run(world, folder, "--try", "dropout=0.6")


def test_each_row_has_what_its_bundles_say(first: tuple[Path, list[dict[str, Any]], str]) -> None:
    _, rows, printed = first
    assert [row["settings"] for row in rows] == [[], ["dropout=0.6"]]
    for row in rows:
        (folder,) = row["bundles"]
        manifest = load_bundle(Path(folder)).manifest
        for model, values in row["ndcg"].items():
            assert values == [manifest.metrics[f"validation.{model}.ndcg@10"]]
            assert f"{values[0]:.4f}" in printed
        assert row["seconds"] == [manifest.training["seconds"]]
        trained = f"dropout={manifest.training['config']['dropout']}"
        assert [trained] == (row["settings"] or ["dropout=0.3"])
    assert "with one seed" in printed or "nothing is above" in printed


def test_what_is_trained_is_not_trained_again_and_what_was_interrupted_goes_on(
    world: Path,
    first: tuple[Path, list[dict[str, Any]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, rows, _ = first
    calls: list[tuple[float, int, bool]] = []

    def interrupted(
        _: Prepared,
        bundles: Path,
        config: TrainConfig,
        device: str,
        seed: int,
        console: Console,
        *,
        resume: bool,
    ) -> str:
        assert (device, console.quiet) == ("cpu", True)
        calls.append((config.dropout, seed, resume))
        (bundles / FILE).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "train", interrupted)
    found, _ = run(world, folder, "--try", "dropout=0.6")
    assert found == rows
    assert calls == []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            grid.try_settings(
                load_prepared(world),
                folder / "grid",
                SMALL,
                ["dropout=0.6"],
                [0, 1],
                "cpu",
                Console(quiet=True),
            )
    assert calls == [(0.3, 1, False), (0.3, 1, True)]


def test_a_training_on_other_data_is_another_one(
    first: tuple[Path, list[dict[str, Any]], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "train", refused)
    other = load_prepared(prepared_world(tmp_path, seed=1))
    with pytest.raises(KeyboardInterrupt):
        grid.try_settings(other, first[0] / "grid", SMALL, [], [0], "cpu", Console(quiet=True))


def test_without_validation_there_is_nothing_to_compare_by(tmp_path: Path) -> None:
    data = prepared_world(tmp_path, split=Split.NONE)
    with pytest.raises(DataError, match="no validation events"):
        run(data, tmp_path, "--try", "dropout=0.1")


def test_a_wrong_value_is_told_before_anything_is_trained(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dropout must be from 0 to below 1, not 2\.0"):
        run(world, tmp_path, "--try", "dropout=0.1,2.0")
    assert not (tmp_path / "grid").exists()
