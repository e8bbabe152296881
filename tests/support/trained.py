"""A bundle trained on a small world, by the commands of the quick start."""

from pathlib import Path
from typing import NamedTuple

from groundswell.artifacts.store import BundleStore
from tests.support.cli import groundswell
from tests.support.pages import step_of_quick_start
from tests.support.shared import made_once, run_folder
from tests.support.text_encoders import with_export
from tests.support.worlds import World, synthetic_world

TRAIN_TIMEOUT_S = 300.0
SETTINGS = ("max_epochs=40", "patience=8", "dimension=32", "width=32", "num_blocks=1")


class Trained(NamedTuple):
    """A folder with a world, its prepared log, and the bundle that was trained on it."""

    folder: Path

    @property
    def world(self) -> World:
        """The log and the catalogue."""
        return World(self.folder / "events.csv", self.folder / "items.csv")

    @property
    def data(self) -> Path:
        """What `prepare` wrote."""
        return self.folder / "prepared"

    @property
    def bundles(self) -> Path:
        """Where the bundle is current."""
        return self.folder / "bundles"

    def run(self, *arguments: str) -> str:
        """Run a command in the folder, which must succeed; returns what it printed."""
        done = groundswell(*arguments, timeout=TRAIN_TIMEOUT_S, folder=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def trained_bundle() -> Trained:
    """Prepare and train, once per run of the tests; not to be changed."""
    return Trained(made_once(run_folder(), "trained", _train))


def _train(folder: Path) -> None:
    trained = Trained(folder)
    synthetic_world(folder)
    trained.run(*step_of_quick_start("prepare"))
    with_export(trained.data)
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    bundle_id = trained.run(*step_of_quick_start("train"), *settings).strip()
    assert BundleStore(trained.bundles).current() == bundle_id
