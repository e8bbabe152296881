"""`groundswell text-probe` as a person runs it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from groundswell.cli.app import app
from groundswell.trainer.errors import DataError
from groundswell.trainer.text_encoder.probe import DEFAULT, MOST_FREQUENT
from tests.support.texts import caption_world


def test_it_prints_a_table_and_writes_the_figures(tmp_path: Path) -> None:
    items = caption_world(tmp_path, items=24).items
    file = tmp_path / "figures.json"
    options = ["--items", str(items), "--splits", "1", "--json", str(file), "--set", "max_tokens=8"]
    done = CliRunner().invoke(app, ["text-probe", *options], catch_exceptions=False)
    assert done.exit_code == 0
    figures = json.loads(file.read_text())
    assert list(figures) == [MOST_FREQUENT, DEFAULT]
    accuracy = figures[DEFAULT]["accuracy"]
    assert f"{accuracy['value']:.3f}" in done.output
    above = figures[DEFAULT]["accuracy_above"][MOST_FREQUENT]
    difference = accuracy["value"] - figures[MOST_FREQUENT]["accuracy"]["value"]
    assert abs(above["value"] - difference) < 1e-9
    assert above["low"] <= above["value"] <= above["high"]


def test_a_wrong_setting_is_told_before_anything_is_read(tmp_path: Path) -> None:
    options = ["--items", str(tmp_path / "none.csv"), "--set", "text_encoder.layers=2"]
    done = CliRunner().invoke(app, ["text-probe", *options])
    assert isinstance(done.exception, DataError)
    assert "text_encoder.layers means nothing without" in str(done.exception)
