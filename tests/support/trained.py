"""A bundle trained on a small world, by the commands that a person would use."""

from pathlib import Path
from typing import NamedTuple

from groundswell.artifacts.store import BundleStore
from tests.support.cli import groundswell
from tests.support.shared import made_once, run_folder
from tests.support.text_encoders import with_export
from tests.support.worlds import World, synthetic_world

TRAIN_TIMEOUT_S = 300.0
SETTINGS = ("max_epochs=40", "patience=8", "dimension=32", "width=32", "num_blocks=1")


class Trained(NamedTuple):
    """A world, its prepared log, and a folder with the bundle that was trained on it."""

    world: World
    data: Path
    bundles: Path


def run(*arguments: str) -> str:
    """Run a command that must succeed; returns what it printed."""
    done = groundswell(*arguments, timeout=TRAIN_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def trained_bundle() -> Trained:
    """Prepare and train, once per run of the tests; not to be changed."""
    return _parts(made_once(run_folder(), "trained", _train))


def _parts(folder: Path) -> Trained:
    world = World(folder / "world/events.csv", folder / "world/items.csv")
    return Trained(world, folder / "prepared", folder / "bundles")


def _train(folder: Path) -> None:
    world, data, bundles = _parts(folder)
    synthetic_world(folder / "world")
    run("prepare", "--events", str(world.events), "--items", str(world.items), "--out", str(data))
    with_export(data)
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    bundle_id = run("train", "--data", str(data), "--bundles", str(bundles), *settings).strip()
    assert BundleStore(bundles).current() == bundle_id
