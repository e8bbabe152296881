"""Whole training runs on small logs: what is published, and what odd data make of it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.artifacts.store import BundleStore
from groundswell.ranker_service.canary import check_canary
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engines import open_index
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepared import TEST, TRAIN, Prepared, load_prepared
from groundswell.trainer.encoders.inference import UserEncoders
from groundswell.trainer.encoders.training import new_encoders, train_jointly, train_profile
from groundswell.trainer.errors import DataError, TrainError
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.inputs.histories import cut_chunks
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop import losses as loss
from groundswell.trainer.loop.checkpoint import Checkpoints
from groundswell.trainer.loop.run import Run, open_run
from groundswell.trainer.ranking.validation import Validation
from groundswell.trainer.train import train
from tests.support.text_encoders import with_export
from tests.support.worlds import prepared_world

SMALL = (
    *("dimension=16", "width=16", "window_length=12", "chunk_length=4", "max_chunks=8"),
    # What is faster may change under load.
    "precision=float32",
)
QUICK = (*SMALL, "num_blocks=1", "max_epochs=2")


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Large enough that chance finds little."""
    data = prepared_world(tmp_path_factory.mktemp("large"), users=200, items=240)
    return load_prepared(with_export(data))


def trained(prepared: Prepared, bundles: Path, *settings: str, seed: int = 0) -> Bundle:
    store = BundleStore(bundles)
    config = parse_config([*QUICK, *settings])
    bundle_id = train(prepared, bundles, config, "cpu", seed, Console(quiet=True))
    assert store.current() == bundle_id
    return store.load(bundle_id)


@pytest.fixture(scope="module")
def bundle(world: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trained(world, tmp_path_factory.mktemp("bundles"), "max_epochs=6")


def test_the_served_models_rank_validation_as_training_did(bundle: Bundle, world: Prepared) -> None:
    figures = evaluate(bundle, world, part="validation")["models"]
    metrics = bundle.manifest.metrics
    # Chunk vectors are stored in half precision: a near tie may fall the other way.
    for model in ("short", "long", "constant", "fused"):
        due = metrics[f"validation.{model}.ndcg@10"]
        assert figures[model]["ndcg@10"] == pytest.approx(due, abs=0.01), model


def test_the_kept_queries_find_their_items(bundle: Bundle) -> None:
    canary = bundle.canary()
    assert canary is not None
    assert canary.best_rows.shape == (len(canary.short_vectors), 10)
    fusion = Fusion(bundle.fusion_model(), bundle.manifest.fusion)
    check_canary(bundle, fusion, open_index(bundle))


def test_item_vectors_are_the_item_heads_for_the_bundles_own_texts(
    bundle: Bundle, world: Prepared
) -> None:
    texts = bundle.text_encoder().encode(world.texts)
    rows = np.arange(world.num_items, dtype=np.int64)
    vectors = bundle.item_head().run(text_vectors=texts, rows=rows)
    np.testing.assert_allclose(vectors, bundle.item_vectors, atol=1e-5)
    assert bundle.item_ids == world.item_ids
    counts = np.bincount(world.items[world.split_of == TRAIN], minlength=world.num_items)
    np.testing.assert_array_equal(bundle.popularity, counts)


def test_the_manifest_says_what_the_run_was(bundle: Bundle, world: Prepared) -> None:
    manifest = bundle.manifest
    assert (manifest.dimension, manifest.window_length, manifest.chunk_length) == (16, 12, 4)
    assert manifest.use_time
    assert manifest.categories == world.categories
    assert manifest.training["seed"] == 0
    assert manifest.training["config"]["max_epochs"] == 6
    assert 1 <= manifest.training["epochs"]["views"] <= 6
    assert len(manifest.training["curves"]["views"]["ndcg"]) <= 6
    longest = int(np.diff(world.offsets).max())
    assert (manifest.recent_length, manifest.context_dimension) == (longest, 16)
    low, high = manifest.fusion.gate_low, manifest.fusion.gate_high
    assert all(a < b for a, b in zip(low, high, strict=True))
    assert math.expm1(high[1]) <= 7.001, "the longest session of this world"
    text = manifest.history_text
    assert text.ndcg_with is not None
    assert text.ndcg_without is not None
    difference = text.ndcg_with - text.ndcg_without
    assert text.difference == pytest.approx(difference)
    assert text.standard_error is not None
    assert (text.mode == "read") == (difference > text.standard_error)
    card = (bundle.path / files.MODEL_CARD).read_text()
    assert "validation.fused.ndcg@10" in card


def test_without_times_categories_or_validation_there_is_still_a_bundle(
    world: Prepared, tmp_path: Path
) -> None:
    bare = replace(
        world,
        split="none",
        order_only=True,
        split_of=np.zeros_like(world.split_of),
        target=np.zeros_like(world.target),
        categories=(),
        item_table=world.item_table.with_columns(
            categories=pl.lit([], dtype=pl.List(pl.String)), title=pl.lit("")
        ),
    )
    made = trained(bare, tmp_path, "epochs=1")
    assert not made.manifest.use_time
    assert made.manifest.categories == ()
    assert made.interest_head() is None
    assert made.manifest.training["epochs"]["views"] == 1
    assert made.manifest.fusion.mode == "constant"
    assert made.manifest.history_text == HistoryTextSpec(mode="skip")
    assert np.isfinite(made.item_vectors).all()


def test_without_validation_the_epochs_are_those_of_the_current_bundle(
    bundle: Bundle, world: Prepared
) -> None:
    everything = replace(
        world,
        split="none",
        split_of=np.zeros_like(world.split_of),
        target=np.zeros_like(world.target),
    )
    second = trained(everything, bundle.path.parent)
    earlier, later = (b.manifest.training["epochs"] for b in (bundle, second))
    assert later["views"] == earlier["views"]
    assert second.manifest.history_text.mode == bundle.manifest.history_text.mode
    assert second.manifest.history_text.difference is None
    assert second.popularity.sum() == len(world.items)


def test_a_log_with_nothing_to_learn_from_is_refused_and_leaves_nothing(
    world: Prepared, tmp_path: Path
) -> None:
    nothing = replace(
        world,
        split_of=np.full_like(world.split_of, TEST),
        target=np.zeros_like(world.target),
    )
    with pytest.raises(DataError, match="fewer than two events to learn from"):
        trained(nothing, tmp_path / "bundles")
    assert not list((tmp_path / "bundles").glob("*"))


def test_a_run_that_diverges_is_an_error_and_leaves_nothing(
    world: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match="the loss of the views stage became"):
        trained(world, tmp_path, "learning_rate=1e30", "warmup_steps=0")
    assert not list(tmp_path.iterdir())


class Learned(NamedTuple):
    """NDCG@10 of both user encoders, their vectors, the encoders and their run."""

    short: float
    long: float
    vectors: torch.Tensor
    encoders: UserEncoders
    run: Run


def learn(
    prepared: Prepared, logs: Path, settings: Sequence[str], seed: int = 0, epochs: int = 0
) -> Learned:
    """Train both user encoders, on random text vectors."""
    rng = np.random.default_rng(0)
    chunks = cut_chunks(prepared, 4)
    item_texts = rng.normal(size=(prepared.num_items, 8)).astype(np.float32)
    chunk_texts = rng.normal(size=(len(chunks.texts), 8)).astype(np.float32)
    validation = Validation(prepared)
    config = parse_config([*SMALL, *settings])
    with open_run(config, "cpu", seed, logs, Console(quiet=True)) as run:
        training, checkpoints = (
            new_encoders(TrainingLog(prepared), item_texts, run),
            Checkpoints(logs, run),
        )
        train_jointly(training, validation, epochs, checkpoints)
        encoders = train_profile(training, validation, chunks, chunk_texts, checkpoints)
        both = (encoders.short, encoders.long)
        short, long = (encode(validation.events).clone() for encode in both)
        items = encoders.items.vectors()
        ndcgs = [validation.ndcg(users, items) for users in (short, long)]
        return Learned(ndcgs[0], ndcgs[1], torch.cat([short, long]), encoders, run)


def test_a_seed_gives_one_training_and_another_seed_another(
    world: Prepared, tmp_path: Path
) -> None:
    settings = ("max_epochs=2",)
    first, again = (learn(world, tmp_path, settings, seed=1) for _ in range(2))
    other = learn(world, tmp_path, settings, seed=2)
    assert first[:2] == again[:2]
    torch.testing.assert_close(first.vectors, again.vectors, rtol=0, atol=0)
    assert (first.vectors - other.vectors).abs().max() > 1e-3


def test_both_parts_of_the_training_stop_when_validation_gets_no_better(
    world: Prepared, tmp_path: Path
) -> None:
    run = learn(world, tmp_path, ("learning_rate=1e-12", "patience=2", "max_epochs=9")).run
    assert run.epochs == {"views": 1, "profile": 0}
    assert len(run.curves["views"]["loss"]) == 3
    assert len(run.curves["profile"]["loss"]) == 1


def test_epochs_that_were_asked_for_are_trained_whatever_validation_says(
    world: Prepared, tmp_path: Path
) -> None:
    settings = ("learning_rate=1e-12", "patience=1")
    run = learn(world, tmp_path, settings, epochs=4).run
    assert run.epochs["views"] == 4


def test_what_is_served_is_the_mean_of_the_weights(world: Prepared, tmp_path: Path) -> None:
    """A mean that keeps almost everything stays where the first step was."""

    def moved(ema: float) -> float:
        settings = (f"ema={ema}", "warmup_steps=0")
        one, more = (learn(world, tmp_path, settings, epochs=n).encoders.items for n in (1, 3))
        return float((one.vectors() - more.vectors()).abs().max())

    assert moved(0.9999) < 0.05 * moved(0.0)


def test_what_training_never_sees_is_placed_by_its_text_alone(
    world: Prepared, tmp_path: Path
) -> None:
    unseen = np.isin(world.items, (3, 8))
    without = replace(world, split_of=np.where(unseen, TEST, world.split_of).astype(np.int8))
    # A history's training events are its first ones: those after an unseen one are not trained on.
    items = learn(without, tmp_path, ("id_dropout=0",), epochs=1).encoders.items
    own, texts = items.vectors(), items.text_only()
    assert torch.equal(own[[3, 8]], texts[[3, 8]])
    assert (own[[4, 9]] - texts[[4, 9]]).abs().min() > 0


LEARNS = ("max_epochs=12", "learning_rate=5e-3", "batch_windows=16", "ema=0.9")


@pytest.fixture(scope="module")
def learned(large_world: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learn(large_world, tmp_path_factory.mktemp("logs"), LEARNS)


def test_both_vectors_learn_and_the_short_one_what_comes_next(
    learned: Learned, large_world: Prepared, tmp_path: Path
) -> None:
    chance = learn(large_world, tmp_path, ("max_epochs=1", "learning_rate=1e-9")).short
    assert learned.short > 3 * chance
    assert learned.short > learned.long > 1.5 * chance


def test_a_large_catalogue_learns_from_shared_negatives(
    learned: Learned,
    large_world: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    sampled = learn(large_world, tmp_path, (*LEARNS, "negatives=60"))
    assert sampled.short > 0.5 * learned.short
    assert sampled.long > 0.5 * learned.long
