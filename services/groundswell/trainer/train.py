"""A prepared log → a published bundle: texts, items and session, profile, fusion, interests."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from groundswell.artifacts.bundle import MODEL_CARD, NEIGHBOUR_ROWS, NEIGHBOUR_SIMILARITIES
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest, NeighbourSpec, TextSpec
from groundswell.artifacts.store import BundleStore
from groundswell.trainer import views_stage
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.data import TEXT_VECTORS, TRAIN, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.export import Trained, export_models, write_tables
from groundswell.trainer.fusing import Views
from groundswell.trainer.fusion_stage import Fused, train_fusion, weigh_sources
from groundswell.trainer.inputs import Chunks, cut_chunks, gate_inputs
from groundswell.trainer.interest_stage import calibrate, train_interests
from groundswell.trainer.leakage import check_leakage
from groundswell.trainer.model_card import model_card
from groundswell.trainer.neighbours import (
    DECAY,
    WINDOW_LENGTH,
    NeighbourTable,
    item_similarities,
    neighbour_table,
    sources_before,
)
from groundswell.trainer.run import Run, open_run, to_tensor
from groundswell.trainer.sampling import TrainingLog
from groundswell.trainer.texts import EncodedTexts, encode_texts
from groundswell.trainer.validation import Ranking, Validation, most_targets
from groundswell.trainer.views_stage import ViewsStage

_RUNS = "tensorboard"
_EPOCHS_WITHOUT_ANYTHING = 20
_MOST_WHILE_TRAINING = 4_000
"""Validation targets that an epoch is judged by."""


class _Models(NamedTuple):
    trained: Trained
    fused: Fused
    recent_length: int
    neighbours: NeighbourTable
    neighbour_spec: NeighbourSpec
    metrics: dict[str, float]


def train(
    prepared: Prepared,
    bundles: Path,
    config: TrainConfig,
    device: str,
    seed: int,
    console: Console,
) -> str:
    """Train every model, publish them as one bundle, make it current, and return its id.

    Raises DataError when there is nothing to learn from, LeakageError when the log would tell what
    it must not, TrainError when training diverges, ExportError when an exported model says
    something else than the trained one. Nothing is published then.
    """
    started = time.monotonic()
    check_leakage(prepared)
    prepared = prepared.for_training()
    store = BundleStore(bundles)
    log = TrainingLog(prepared)
    if log.num_targets < 2:
        raise DataError(f"{prepared.folder} has fewer than two events to learn from")
    logs = prepared.folder / _RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    with (
        store.workspace() as folder,
        open_run(config, device, seed, logs, console) as run,
    ):
        chunks = cut_chunks(prepared, config.chunk_length)
        cache = prepared.folder / TEXT_VECTORS
        texts = encode_texts(prepared.texts, chunks.texts, log, cache, folder, run)
        # What a folder's first run alone does to the encoder draws random numbers.
        torch.manual_seed(seed)
        models = _train_models(log, chunks, texts, _epochs(store, prepared, config, console), run)
        export_models(folder, models.trained, config.window_length, models.recent_length)
        counts = np.bincount(
            prepared.items[prepared.split_of == TRAIN], minlength=prepared.num_items
        )
        write_tables(folder, prepared.item_ids, texts.items, counts.astype(np.float64))
        np.save(folder / NEIGHBOUR_ROWS, models.neighbours.rows)
        np.save(folder / NEIGHBOUR_SIMILARITIES, models.neighbours.similarities)
        training = _training(prepared, config, seed, run, time.monotonic() - started)
        manifest = _manifest(prepared, config, texts, models, training)
        (folder / MODEL_CARD).write_text(model_card(manifest))
        bundle_id = store.publish(folder, manifest)
    store.set_current(bundle_id)
    return bundle_id


def _train_models(
    log: TrainingLog, chunks: Chunks, texts: EncodedTexts, epochs: int, run: Run
) -> _Models:
    prepared, config = log.prepared, run.config
    validation = Validation(prepared)
    stage = ViewsStage(log, chunks, texts, run)
    stage.train(Validation(prepared, _MOST_WHILE_TRAINING), epochs)
    items_Id = stage.item_vectors().clone()

    similarities = item_similarities(prepared)

    def views(events: NDArray[np.int64]) -> Views:
        features = to_tensor(gate_inputs(prepared, events, config.window_length), run)
        sources = sources_before(prepared, similarities, events)
        return Views(stage.short(events).clone(), stage.long(events).clone(), features, sources)

    held_out = views(validation.events)
    weights, metrics = weigh_sources(held_out, items_Id, validation)
    held_out = held_out.weighed(*weights)
    most = min(config.max_positions, most_targets(prepared.num_items) or config.max_positions)
    positions = log.sample_positions(log.is_for_gate, most, run.rng)
    ranking = Ranking(prepared, positions)
    gate_views = views(ranking.events).weighed(*weights)
    fused = train_fusion(ranking, gate_views, held_out, items_Id, validation, run)
    metrics |= fused.metrics
    head = None
    if prepared.categories:
        positions = log.sample_positions(log.is_target, config.max_positions, run.rng)
        category_I = to_tensor(prepared.item_category.astype(np.int64), run)
        targets_n = to_tensor(prepared.items[positions].astype(np.int64), run)
        head = train_interests(
            fused.users(views(positions)),
            category_I[targets_n],
            stage.text_only_vectors(),
            category_I,
            len(prepared.categories),
            run,
        )
        if validation:
            calibrate(head, fused.users(held_out), category_I[validation.targets])
    trained = Trained(
        stage.item_head.cpu().eval(),
        stage.context_head.cpu().eval(),
        stage.session.cpu().eval(),
        stage.profile.cpu().eval(),
        fused.gate.cpu().eval(),
        None if head is None else head.cpu().eval(),
    )
    table = neighbour_table(similarities)
    spec = NeighbourSpec(
        count=table.rows.shape[1],
        window_length=WINDOW_LENGTH,
        decay=DECAY,
        short_weight=weights[0],
        long_weight=weights[1],
    )
    return _Models(trained, fused, stage.recent_length, table, spec, metrics)


def _epochs(store: BundleStore, prepared: Prepared, config: TrainConfig, console: Console) -> int:
    """Epochs of the views; 0 where validation decides. Without it an earlier run's are used."""
    has_validation = bool(Validation(prepared))
    if has_validation or config.epochs:
        return config.epochs
    current = store.current()
    try:
        if current is not None:
            return int(store.load(current).manifest.training["epochs"][views_stage.NAME])
    except (BundleError, KeyError) as error:
        console.print(f"the current bundle says nothing of its epochs: {error}")
    console.print(
        f"no validation set, and no earlier bundle: {views_stage.NAME} train for "
        f"{_EPOCHS_WITHOUT_ANYTHING} epochs (--set epochs=N changes it)"
    )
    return _EPOCHS_WITHOUT_ANYTHING


def _training(
    prepared: Prepared, config: TrainConfig, seed: int, run: Run, seconds: float
) -> dict[str, Any]:
    times = prepared.times_us[prepared.split_of == TRAIN]
    return {
        "config": {name: getattr(config, name) for name in config.__dataclass_fields__},
        "seed": seed,
        "epochs": run.epochs,
        "curves": run.curves,
        "seconds": round(seconds, 1),
        "split": prepared.split,
        "num_users": prepared.num_users,
        "num_items": prepared.num_items,
        "num_training_events": len(times),
        "first_time_us": int(times.min()),
        "last_time_us": int(times.max()),
        "order_only": prepared.order_only,
    }


def _manifest(
    prepared: Prepared,
    config: TrainConfig,
    texts: EncodedTexts,
    models: _Models,
    training: dict[str, Any],
) -> Manifest:
    return Manifest(
        created_at=datetime.now(UTC),
        dimension=config.dimension,
        window_length=config.window_length,
        chunk_length=config.chunk_length,
        max_chunks=config.max_chunks,
        recent_length=models.recent_length,
        context_dimension=config.width,
        use_time=not prepared.order_only,
        categories=prepared.categories,
        text=TextSpec(
            source=texts.source,
            fingerprint=texts.fingerprint,
            dimension=texts.items.shape[1],
            max_tokens=config.max_tokens,
        ),
        fusion=models.fused.spec,
        neighbours=models.neighbour_spec,
        training=training,
        metrics=models.metrics,
    )
