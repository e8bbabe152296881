"""Trains a bundle on a prepared log: text encoder, items and user encoders, neighbours, heads."""

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from groundswell.artifacts.bundle import MODEL_CARD
from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.store import BundleStore
from groundswell.trainer.bundle.manifest import bundle_manifest
from groundswell.trainer.bundle.model_card import model_card
from groundswell.trainer.bundle.onnx import Trained, export_models
from groundswell.trainer.bundle.tables import write_canary, write_items, write_neighbours
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.disk import check_writable, told_when_full
from groundswell.trainer.dataset.prepared import RUNS, TEXT_VECTORS, Prepared
from groundswell.trainer.encoders.inference import UserEncoders
from groundswell.trainer.encoders.joint_epochs import joint_epochs
from groundswell.trainer.encoders.training import new_encoders, train_jointly, train_profile
from groundswell.trainer.errors import DataError
from groundswell.trainer.heads.history_text import history_text_of
from groundswell.trainer.inputs.histories import cut_chunks
from groundswell.trainer.inputs.leakage import check_leakage
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.checkpoint import Checkpoints, made_of
from groundswell.trainer.loop.devices import check_device
from groundswell.trainer.loop.distributed import open_processes
from groundswell.trainer.loop.losses import is_large
from groundswell.trainer.loop.profiling import profiled
from groundswell.trainer.loop.run import Run, open_run
from groundswell.trainer.ranking.validation import Validation
from groundswell.trainer.text_encoder.encode import Texts
from groundswell.trainer.train_heads import Heads, train_heads

_KEPT = (
    "nothing was published; free some space, and resume after the last finished epoch, if any, by "
    "the same command with --resume"
)
_MOST_WHILE_TRAINING = 4_000
"""Validation targets that an epoch is judged by."""


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

    Raises DataError when there is nothing to learn from, LeakageError when the log would show
    training what it must not know, TrainError when training diverges or another process has ended,
    ExportError when an exported model differs from the trained one. Nothing is published then.

    With `resume` the interrupted run into `bundles` continues after its last finished epoch; raises
    TrainError when there is none, or one of other data, settings or seed. `profile` is a folder to
    write a trace of some steps to. Processes that torchrun started train the encoders together,
    each on its share of the windows of every step; the first one does all else.
    """
    check_device(device)
    check_leakage(prepared)
    prepared = prepared.for_training()
    log = _training_log(prepared)
    store = BundleStore(bundles)
    written = (bundles, prepared.folder)
    for one in written:
        check_writable(one)
    logs = prepared.folder / RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    with (
        told_when_full(written, _KEPT),
        open_processes(device) as processes,
        store.workspace() if processes.is_first else nullcontext(bundles) as folder,
        open_run(config, device, seed, logs, console, processes) as run,
    ):
        checkpoints = Checkpoints(bundles, run, resume=resume)
        epochs = processes.from_first(lambda: joint_epochs(store, prepared, config, console))
        text = processes.from_first(lambda: history_text_of(store, prepared, config, console))
        data = {"the number of epochs": epochs, "the prepared log": prepared.fingerprint()}
        checkpoints.belongs_to(made_of(run) | data | {"the texts of histories": text})
        texts = Texts(prepared.texts, log, prepared.folder / TEXT_VECTORS, folder, run)
        checkpoints.belongs_to({"the text encoder": texts.spec.fingerprint})
        texts_It = _item_texts(texts, prepared)
        # Training or exporting a text encoder, as the first run over a log does, draws numbers.
        torch.manual_seed(seed)
        trace = _trace(profile, run, console)
        encoders = _train_encoders(log, texts, texts_It, epochs, text, checkpoints, trace, run)

        def finish() -> str:
            heads = train_heads(log, encoders, text, run)
            manifest = _write_bundle(folder, prepared, texts, texts_It, encoders, heads, run)
            bundle_id = store.publish(folder, manifest)
            store.set_current(bundle_id)
            checkpoints.remove()
            return bundle_id

        return processes.from_first(finish)


def _training_log(prepared: Prepared) -> TrainingLog:
    log = TrainingLog(prepared)
    if log.num_targets < 2:
        raise DataError(
            f"{prepared.folder} has fewer than two events to learn from: none of validation, test "
            "or cold items counts, no DISLIKE, and no action of weight 0; with more events, "
            "`prepare --split none` or fewer --cold-items there are more"
        )
    return log


def _item_texts(texts: Texts, prepared: Prepared) -> NDArray[np.floating]:
    """Return [I, t] vectors of the items' texts; of a large catalogue in half precision."""
    vectors_It = texts.encode(prepared.texts, "item texts")
    return vectors_It.astype(np.float16) if is_large(prepared.num_items) else vectors_It


def _train_encoders(
    log: TrainingLog,
    texts: Texts,
    texts_It: NDArray[np.floating],
    epochs: int,
    history_text: str,
    checkpoints: Checkpoints,
    trace: AbstractContextManager[None],
    run: Run,
) -> UserEncoders:
    """Train the items and both user encoders."""
    validation = Validation(log.prepared, _MOST_WHILE_TRAINING)
    training = new_encoders(log, texts_It, run)
    with trace:
        train_jointly(training, validation, epochs, checkpoints)
    # Only now: the joint phase reads no text of a history.
    chunks = cut_chunks(log.prepared, run.config.chunk_length, read=history_text != "skip")
    chunk_texts_Mt = texts.encode(chunks.texts, "history texts")
    return train_profile(training, validation, chunks, chunk_texts_Mt, checkpoints)


def _write_bundle(
    folder: Path,
    prepared: Prepared,
    texts: Texts,
    texts_It: NDArray[np.floating],
    encoders: UserEncoders,
    heads: Heads,
    run: Run,
) -> Manifest:
    """Write all files of a bundle but its manifest, which is returned."""
    model, fusion, interests = encoders.model, heads.fusion, heads.interests
    trained = Trained(
        model.item_head.cpu().eval(),
        model.context_head.cpu().eval(),
        model.session.cpu().eval(),
        model.profile.cpu().eval(),
        fusion.gate.cpu().eval(),
        None if interests is None else interests.cpu().eval(),
    )
    export_models(folder, trained, run.config.window_length, encoders.recent_length)
    index_kind, index_figures = write_items(folder, prepared, texts_It, heads.queries_nd)
    users = [one.float().cpu().numpy() for one in heads.queried[:3]]
    canary = write_canary(folder, users, heads.queried_n, fusion.spec, index_kind)
    table = heads.neighbours.table()
    write_neighbours(folder, *table)
    manifest = bundle_manifest(
        prepared,
        run,
        texts.spec,
        fusion.spec,
        heads.neighbours.spec(table.rows.shape[1]),
        encoders.recent_length,
        heads.history_text,
        index_kind,
        canary,
        heads.metrics | index_figures,
    )
    (folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
    return manifest


def _trace(folder: Path | None, run: Run, console: Console) -> AbstractContextManager[None]:
    """Trace some steps into `folder`, where it is given, in the first process."""
    if folder is None or not run.processes.is_first:
        return nullcontext()
    return profiled(folder, run.device.type, console)
