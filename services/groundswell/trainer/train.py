"""A prepared log → a published bundle: texts, items and session, profile, fusion, interests."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from groundswell.artifacts.bundle import MODEL_CARD
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest, TextSpec
from groundswell.artifacts.store import BundleStore
from groundswell.models.interest_head import InterestHead
from groundswell.trainer import session_stage
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.data import TEXT_VECTORS, TRAIN, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.export import Trained, export_models, write_tables
from groundswell.trainer.fusion_stage import Fused, Views, train_fusion
from groundswell.trainer.inputs import cut_chunks, gate_inputs
from groundswell.trainer.interest_stage import calibrate, train_interests
from groundswell.trainer.leakage import check_leakage
from groundswell.trainer.model_card import model_card
from groundswell.trainer.profile_stage import ProfileStage
from groundswell.trainer.run import Run, open_run, to_tensor
from groundswell.trainer.sampling import TrainingLog
from groundswell.trainer.session_stage import SessionStage
from groundswell.trainer.texts import EncodedTexts, encode_texts
from groundswell.trainer.validation import Validation

_RUNS = "tensorboard"
_EPOCHS_WITHOUT_ANYTHING = 20


class _Models(NamedTuple):
    trained: Trained
    fused: Fused
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
        export_models(folder, models.trained, config.window_length)
        counts = np.bincount(
            prepared.items[prepared.split_of == TRAIN], minlength=prepared.num_items
        )
        write_tables(folder, prepared.item_ids, texts.items, counts.astype(np.float64))
        training = _training(prepared, config, seed, run, time.monotonic() - started)
        manifest = _manifest(prepared, config, texts, models, training)
        (folder / MODEL_CARD).write_text(model_card(manifest))
        bundle_id = store.publish(folder, manifest)
    store.set_current(bundle_id)
    return bundle_id


def _train_models(
    log: TrainingLog, chunks: Any, texts: EncodedTexts, epochs: dict[str, int], run: Run
) -> _Models:
    prepared, config = log.prepared, run.config
    validation = Validation(prepared)
    session = SessionStage(log, texts.items, run)
    short_ndcg = session.train(validation, epochs["session"])
    items_Id = session.item_vectors().clone()
    profile = ProfileStage(log, chunks, texts.chunks, texts.items, run)
    long_ndcg = profile.train(items_Id, validation, epochs["profile"])

    def views(events: NDArray[np.int64]) -> Views:
        features = to_tensor(gate_inputs(prepared, events, config.window_length), run)
        both = (session.views(events).clone(), profile.views(events).clone())
        return Views(*both, features)

    positions = log.sample_positions(config.max_positions, run.rng)
    train_views = views(positions)
    held_out = views(validation.events) if validation else train_views
    targets_n = to_tensor(prepared.items[positions].astype(np.int64), run)
    fused = train_fusion(train_views, targets_n, held_out, items_Id, validation, run)
    metrics = dict(fused.metrics)
    if validation:
        metrics["validation.short.ndcg@10"] = short_ndcg
        metrics["validation.long.ndcg@10"] = long_ndcg
    head = None
    if prepared.categories:
        category_I = to_tensor(prepared.item_category.astype(np.int64), run)
        head = _train_head(
            session,
            fused,
            train_views,
            category_I[targets_n],
            category_I,
            len(prepared.categories),
            run,
        )
        if validation:
            calibrate(head, fused.users(held_out), category_I[validation.targets])
    trained = Trained(
        session.item_head.cpu().eval(),
        session.session.cpu().eval(),
        profile.encoder.cpu().eval(),
        fused.gate.cpu().eval(),
        None if head is None else head.cpu().eval(),
    )
    return _Models(trained, fused, metrics)


def _train_head(
    session: SessionStage,
    fused: Fused,
    views: Views,
    categories_n: torch.Tensor,
    category_I: torch.Tensor,
    num_categories: int,
    run: Run,
) -> InterestHead:
    return train_interests(
        fused.users(views),
        categories_n,
        session.text_only_vectors(),
        category_I,
        num_categories,
        run,
    )


def _epochs(
    store: BundleStore, prepared: Prepared, config: TrainConfig, console: Console
) -> dict[str, int]:
    """Epochs of the stages; 0 where validation decides. Without it an earlier run's are used."""
    has_validation = bool(Validation(prepared))
    if has_validation or config.epochs:
        return {"session": config.epochs, "profile": 0}
    current = store.current()
    try:
        if current is not None:
            earlier = store.load(current).manifest.training["epochs"]
            return {"session": int(earlier["session"]), "profile": int(earlier["profile"])}
    except (BundleError, KeyError) as error:
        console.print(f"the current bundle says nothing of its epochs: {error}")
    console.print(
        f"no validation set, and no earlier bundle: {session_stage.NAME} trains for "
        f"{_EPOCHS_WITHOUT_ANYTHING} epochs (--set epochs=N changes it)"
    )
    return {"session": _EPOCHS_WITHOUT_ANYTHING, "profile": 0}


def _training(
    prepared: Prepared, config: TrainConfig, seed: int, run: Run, seconds: float
) -> dict[str, Any]:
    times = prepared.times_us[prepared.split_of == TRAIN]
    return {
        "config": {name: getattr(config, name) for name in config.__dataclass_fields__},
        "seed": seed,
        "epochs": run.epochs,
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
        use_time=not prepared.order_only,
        categories=prepared.categories,
        text=TextSpec(
            source=texts.source,
            fingerprint=texts.fingerprint,
            dimension=texts.items.shape[1],
            max_tokens=config.max_tokens,
        ),
        fusion=models.fused.spec,
        training=training,
        metrics=models.metrics,
    )
