"""A bundle that is trained here, on a small world, by the commands that a person would use."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from groundswell.artifacts.store import BundleStore
from tests.support.cli import groundswell
from tests.support.worlds import World, synthetic_world

TRAIN_TIMEOUT_S = 120.0
SETTINGS = ("max_epochs=40", "patience=8", "dimension=32", "width=32", "num_blocks=1")


@dataclass(frozen=True)
class Trained:
    """A world, its prepared log, and a folder with the bundle that was trained on it."""

    world: World
    data: Path
    bundles: Path


def run(*arguments: str) -> str:
    """Run a command that must succeed; returns what it printed."""
    done = groundswell(*arguments, timeout=TRAIN_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Prepare and train, once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    world = synthetic_world(folder / "world")
    data, bundles = folder / "prepared", folder / "bundles"
    files = ("--events", str(world.events), "--items", str(world.items))
    run("prepare", *files, "--out", str(data))
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    bundle_id = run("train", "--data", str(data), "--bundles", str(bundles), *settings).strip()
    assert BundleStore(bundles).current() == bundle_id
    return Trained(world, data, bundles)
