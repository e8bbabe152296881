"""The demo's own scenes, over the small world: they show what is there, and miss nothing."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from groundswell.cli.demo.model import Model
from groundswell.cli.demo.people import other_taste, pick_people
from groundswell.cli.demo.run import serve_scenes
from groundswell.cli.demo.story import Story
from groundswell.cli.failures import CommandError
from groundswell.cli.suite import deployment
from groundswell.cli.suite.state import State
from groundswell.trainer.dataset.movielens import Files
from groundswell.trainer.dataset.prepared import load_prepared
from tests.support.trained import Trained


def model_of(trained: Trained, folder: Path) -> Model:
    prepared = load_prepared(trained.data)
    files = Files(trained.world.events, trained.world.items, "made here")
    return Model(folder, files, trained.bundles, prepared, pick_people(prepared))


def test_the_scenes_show_everything_and_leave_nothing(trained: Trained, tmp_path: Path) -> None:
    model = model_of(trained, tmp_path)
    shown = io.StringIO()
    with State(tmp_path / "state") as state:
        serve_scenes(Story(Console(file=shown, width=120)), state, model)
    text = shown.getvalue()
    num_events = np.diff(model.prepared.offsets)
    for user in model.people:
        assert f"User {model.prepared.user_ids[user]}: {num_events[user]} events" in text
    other = other_taste(model.prepared, model.people[-1])
    assert f"Three new events, all {other.category}" in text
    for line in ("Interests now", "α = ", "Recommended after them", "is nearest to", "rank"):
        assert line in text
    log = (tmp_path / "services.log").read_text()
    assert all(f"{name} │" in log for name in ("profile", "session", "ranker"))
    assert "Traceback" not in log


def test_a_scene_that_goes_wrong_ends_the_services(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(trained, tmp_path)
    ports = deployment.free_ports()
    monkeypatch.setattr(deployment, "free_ports", lambda: ports)
    broken = tmp_path / "items.csv"
    broken.write_text("item_id,title\nitem-0000,The only one\n")
    model = replace(model, files=model.files._replace(items=broken))
    with (
        State(tmp_path / "state") as state,
        pytest.raises(CommandError, match=r"rows of .* were left out"),
    ):
        serve_scenes(Story(Console(file=io.StringIO())), state, model)
    assert deployment.taken_ports(ports) == {}
