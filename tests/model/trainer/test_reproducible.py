"""The same training set and seed give the same bundle, whatever lies in the test set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import TEST, TRAIN, Prepared, load_prepared
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.train import train
from tests.support.worlds import synthetic_world

SETTINGS = ("max_epochs=2", "dimension=8", "width=8", "num_blocks=1", "window_length=10")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    world = synthetic_world(folder, users=30, items=40)
    prepare(world.events, world.items, folder / "prepared")
    return load_prepared(folder / "prepared")


def with_another_test_set(prepared: Prepared) -> Prepared:
    """The same log, but for what the users did in the test."""
    items, actions = prepared.items.copy(), prepared.actions.copy()
    chosen = prepared.split_of == TEST
    assert chosen.sum() == prepared.num_users
    items[chosen] = (items[chosen] + 7) % prepared.num_items
    actions[chosen] = 1
    return replace(prepared, items=items, actions=actions)


def trained(prepared: Prepared, bundles: Path) -> Bundle:
    store = BundleStore(bundles)
    config = parse_config(SETTINGS)
    return store.load(train(prepared, bundles, config, "cpu", 3, Console(quiet=True)))


def test_a_bundle_is_the_same_whatever_happened_in_the_test_set(
    prepared: Prepared, tmp_path: Path
) -> None:
    """The first run exports the text encoder and fills the cache, the second finds both."""
    first = trained(prepared, tmp_path)
    other = trained(with_another_test_set(prepared), tmp_path)
    np.testing.assert_array_equal(first.item_vectors, other.item_vectors)
    np.testing.assert_array_equal(first.popularity, other.popularity)
    assert first.manifest.metrics == other.manifest.metrics
    assert first.manifest.fusion == other.manifest.fusion
    for name in (
        "session.onnx",
        "profile_head.onnx",
        "context_head.onnx",
        "fusion.onnx",
        "interest_head.onnx",
    ):
        assert first.manifest.files[name] == other.manifest.files[name], name


def test_no_held_out_event_is_ever_drawn_as_a_training_target(prepared: Prepared) -> None:
    log = TrainingLog(prepared)
    rng = np.random.default_rng(0)
    windows = log.windows(10, rng)
    drawn = {
        first + slot
        for first, length, begin in zip(*windows, strict=True)
        for slot in range(begin, length + 1)
    }
    assert drawn == set(np.flatnonzero(prepared.split_of == TRAIN).tolist())
    for among in (log.is_target, log.is_for_gate):
        sampled = log.sample_positions(among, 10_000, rng)
        assert len(sampled) > 0
        assert (prepared.split_of[sampled] == TRAIN).all()
