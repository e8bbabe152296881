"""The demo's first half: the data, a bundle trained on it, and how good that is."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.cli.demo.people import pick_people
from groundswell.cli.demo.story import Story, check
from groundswell.cli.display import metrics
from groundswell.features.actions import ACTIONS, action_number
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.disk import write_json
from groundswell.trainer.dataset.movielens import LICENCE, Files, get_movielens
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.dataset.report import print_report
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.loop.progress import working
from groundswell.trainer.train import train

_VIEW = action_number("view")
_SHORT = TrainConfig(epochs=10, history_text="skip")
"""Less than half the time of a full training. On these data texts of histories add nothing."""


@dataclass(frozen=True)
class Model:
    """A trained bundle, the log that it was trained on, and the users to show."""

    folder: Path
    files: Files
    bundles: Path
    prepared: Prepared
    people: list[int]
    """Numbers of users."""

    @cached_property
    def action(self) -> str:
        """The most frequent action of the log."""
        return ACTIONS[int(np.bincount(self.prepared.actions).argmax()) - 1]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.prepared.item_ids)}

    def item(self, item_id: str) -> tuple[str, str]:
        """An item's title and its categories."""
        row = self._rows[item_id]
        return self.prepared.titles[row], ", ".join(self.prepared.item_table["categories"][row])

    def seen_by(self, user: int) -> set[str]:
        """The ids of the items that must not be recommended to a user; a view alone bans none."""
        span = self._span(user)
        rows = self.prepared.items[span][self.prepared.actions[span] != _VIEW]
        return {self.prepared.item_ids[row] for row in rows}

    def share(self, categories: Iterable[str], user: int | None = None) -> float:
        """The share of events, a user's or everyone's, whose items are in one of the categories."""
        wanted = set(categories)
        fits = [not wanted.isdisjoint(own) for own in self.prepared.item_table["categories"]]
        span = slice(None) if user is None else self._span(user)
        return float(np.mean(np.array(fits)[self.prepared.items[span]]))

    def last_s(self, user: int) -> float:
        """When a user's last event happened, in seconds since 1970."""
        return float(self.prepared.times_us[self.prepared.offsets[user + 1] - 1] / 1e6)

    def _span(self, user: int) -> slice:
        """A user's events."""
        return slice(self.prepared.offsets[user], self.prepared.offsets[user + 1])


def make_model(story: Story, folder: Path, seed: int, *, full: bool) -> Model:
    """Get the data (once), prepare it, train (each time) and evaluate.

    A `full` training goes on until validation improves no more.
    """
    prepared_folder, bundles = folder / "prepared", folder / "bundles"
    story.chapter("MovieLens-100k")
    with working(story.console, "getting it"):
        files = get_movielens(folder / "data")
    story.console.print(f"{files.events} ({files.source}). {LICENCE}.", soft_wrap=True)
    with working(story.console, "preparing"):
        report = prepare(files.events, files.items, prepared_folder)
    print_report(report, story.console)
    prepared = load_prepared(prepared_folder)
    story.chapter("Training")
    config = TrainConfig() if full else _SHORT
    bundle_id = train(prepared, bundles, config, "cpu", seed, story.console)
    store = BundleStore(bundles)
    check(store.current() == bundle_id, "the new bundle is not the current one")
    _forget_earlier(bundles, bundle_id)
    story.chapter("How good it is")
    with working(story.console, "evaluating"):
        figures = evaluate(load_bundle(store.path(bundle_id)), prepared)
    write_json(folder / "evaluation.json", figures)
    story.console.print(metrics.table(figures))
    models = figures["models"]
    check(
        models["fused"]["ndcg@10"] > models["popularity"]["ndcg@10"],
        "the fused model is no better than popularity",
    )
    return Model(folder, files, bundles, prepared, pick_people(prepared))


def _forget_earlier(bundles: Path, bundle_id: str) -> None:
    """Remove what earlier runs trained: each is nearly 200 MB."""
    for folder in bundles.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder.name != bundle_id:
            shutil.rmtree(folder)
