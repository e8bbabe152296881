"""A prepared log → a published bundle: texts, items and session, profile, fusion, interests."""

import time
from contextlib import nullcontext
from dataclasses import asdict
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
from groundswell.retrieval.engine import kind_for
from groundswell.trainer.bundle.export import Trained, export_models, write_tables
from groundswell.trainer.bundle.model_card import model_card
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.disk import check_writable, told_when_full
from groundswell.trainer.dataset.prepared import RUNS, TEXT_VECTORS, TRAIN, Prepared
from groundswell.trainer.encoders import training as views_stage
from groundswell.trainer.encoders.training import ViewsStage
from groundswell.trainer.errors import DataError
from groundswell.trainer.heads.fusing import Views
from groundswell.trainer.heads.fusion import Fused, train_fusion
from groundswell.trainer.heads.interests import calibrate, train_interests
from groundswell.trainer.inputs.histories import cut_chunks, gate_inputs
from groundswell.trainer.inputs.leakage import check_leakage
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.checkpoint import Checkpoints, versions
from groundswell.trainer.loop.devices import check_device
from groundswell.trainer.loop.distributed import open_workers
from groundswell.trainer.loop.losses import is_large
from groundswell.trainer.loop.profiling import profiled
from groundswell.trainer.loop.run import Run, open_run, to_tensor
from groundswell.trainer.neighbours.cooccurrence import NeighbourTable
from groundswell.trainer.neighbours.tuning import SourcesStage
from groundswell.trainer.ranking.validation import Ranking, Validation, most_targets
from groundswell.trainer.text_encoder.encode import Texts

_KEPT = (
    "nothing was published; make room, and where an epoch was done the same command with --resume "
    "goes on from it"
)
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
    *,
    resume: bool = False,
    profile: Path | None = None,
) -> str:
    """Train every model, publish them as one bundle, make it current, and return its id.

    Raises DataError when there is nothing to learn from, LeakageError when the log would tell what
    it must not, TrainError when training diverges or another process has ended, ExportError when an
    exported model says something else than the trained one. Nothing is published then.

    With `resume` go on from the last epoch of the run into `bundles` that was interrupted; raises
    TrainError when there is none, or one of other data, settings or seed. `profile` is a folder to
    write a trace of some steps to. Processes that torchrun started train the views together, each
    on its share of the windows of every step; all else is the first one's, and the others wait.
    """
    check_device(device)
    check_leakage(prepared)
    prepared = prepared.for_training()
    store = BundleStore(bundles)
    log = TrainingLog(prepared)
    if log.num_targets < 2:
        raise DataError(
            f"{prepared.folder} has fewer than two events to learn from: none of validation, test "
            "or cold items counts, no DISLIKE, and no action of weight 0; with more events, "
            "`prepare --split none` or fewer --cold-items there are more"
        )
    written = (bundles, prepared.folder)
    for one in written:
        check_writable(one)
    logs = prepared.folder / RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    with (
        told_when_full(written, _KEPT),
        open_workers(device) as workers,
        store.workspace() if workers.is_first else nullcontext(bundles) as folder,
        open_run(config, device, seed, logs, console, workers) as run,
    ):
        checkpoints = Checkpoints(bundles, run, resume=resume)
        epochs = workers.from_first(lambda: _epochs(store, prepared, config, console))
        checkpoints.belongs_to(_made_of(prepared, config, epochs, run))
        texts = Texts(prepared.texts, log, prepared.folder / TEXT_VECTORS, folder, run)
        checkpoints.belongs_to({"the text encoder": texts.fingerprint})
        item_texts_It: NDArray[np.floating] = texts.encode(prepared.texts, "item texts")
        if is_large(prepared.num_items):
            item_texts_It = item_texts_It.astype(np.float16)
        # What a folder's first run alone does to the encoder draws random numbers.
        torch.manual_seed(seed)
        stage = ViewsStage(log, item_texts_It, run, checkpoints)
        validation = Validation(prepared, _MOST_WHILE_TRAINING)
        traced = profile if workers.is_first else None
        with nullcontext() if traced is None else profiled(traced, device, console):
            stage.train(validation, epochs)
        # Only now: the best epoch of the views need not wait for them.
        chunks = cut_chunks(prepared, config.chunk_length)
        chunk_texts_Mt = texts.encode(chunks.texts, "history texts")
        stage.train_profile(validation, chunks, chunk_texts_Mt)

        def finish() -> str:
            models = _train_on_views(log, stage, run)
            _write_models(folder, prepared, models, item_texts_It, config)
            training = _training(prepared, config, seed, run)
            manifest = _manifest(prepared, config, texts, models, training)
            (folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
            bundle_id = store.publish(folder, manifest)
            store.set_current(bundle_id)
            checkpoints.remove()
            return bundle_id

        return workers.from_first(finish)


def _write_models(
    folder: Path,
    prepared: Prepared,
    models: _Models,
    item_texts_It: NDArray[np.floating],
    config: TrainConfig,
) -> None:
    export_models(folder, models.trained, config.window_length, models.recent_length)
    counts = np.bincount(prepared.items[prepared.split_of == TRAIN], minlength=prepared.num_items)
    write_tables(folder, prepared.item_ids, item_texts_It, counts.astype(np.float64))
    np.save(folder / NEIGHBOUR_ROWS, models.neighbours.rows)
    np.save(folder / NEIGHBOUR_SIMILARITIES, models.neighbours.similarities)


def _train_on_views(log: TrainingLog, stage: ViewsStage, run: Run) -> _Models:
    prepared, config = log.prepared, run.config
    validation = Validation(prepared)
    items_Id = stage.item_vectors().clone()
    sources = SourcesStage(
        log, config.window_length, lambda: stage.text_only_vectors().cpu().numpy()
    )

    def views(events: NDArray[np.int64]) -> Views:
        features = to_tensor(gate_inputs(prepared, events, config.window_length), run)
        short_nd, long_nd = stage.short(events).clone(), stage.long(events).clone()
        return Views(short_nd, long_nd, features, sources.before(events))

    held_out, metrics = views(validation.events), {}
    if validation:
        metrics = sources.weigh(held_out.short, held_out.long, items_Id, validation)
        held_out = held_out._replace(sources=sources.before(validation.events))
    most = min(config.max_positions, most_targets(prepared.num_items) or config.max_positions)
    positions = Ranking(prepared, log.sample_positions(log.is_for_gate, most, run.rng))
    gate_views = views(positions.events)
    fused = train_fusion(positions, gate_views, held_out, items_Id, validation, run)
    head = None
    if prepared.categories:
        # What the views were trained on says more of itself than what the head will be asked of.
        known = log.sample_positions(log.is_target, config.max_positions, run.rng)
        category_I = to_tensor(prepared.item_category.astype(np.int64), run)
        targets_n = torch.from_numpy(prepared.items[known].astype(np.int64))
        head = train_interests(
            torch.cat([fused.users(views(known)), fused.users(gate_views)]),
            category_I[torch.cat([targets_n, positions.targets]).to(run.device)],
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
    table = sources.table()
    spec = sources.spec(table.rows.shape[1])
    return _Models(trained, fused, stage.recent_length, table, spec, metrics | fused.metrics)


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


def _made_of(prepared: Prepared, config: TrainConfig, epochs: int, run: Run) -> dict[str, Any]:
    """What a run's result depends on, by names for people."""
    return {
        **asdict(config),
        "the number of epochs": epochs,
        "seed": run.seed,
        "device": run.device.type,
        "the number of processes": run.workers.size,
        "the prepared log": prepared.fingerprint(),
        **versions(),
    }


def _training(prepared: Prepared, config: TrainConfig, seed: int, run: Run) -> dict[str, Any]:
    times = prepared.times_us[prepared.split_of == TRAIN]
    return {
        "config": asdict(config),
        "seed": seed,
        "num_processes": run.workers.size,
        "epochs": run.epochs,
        "curves": run.curves,
        "seconds": round(time.monotonic() - run.started, 1),
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
    texts: Texts,
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
            dimension=texts.dimension,
            max_tokens=config.max_tokens,
        ),
        fusion=models.fused.spec,
        neighbours=models.neighbour_spec,
        index_kind=kind_for(prepared.num_items),
        training=training,
        metrics=models.metrics,
    )
