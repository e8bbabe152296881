"""Trains the items and both user encoders, at every position of every history.

First all together: both encoders read and predict the same item vectors, so a step of either moves
those. The long-term vector and the next event need different things of an item, and its vector
must hold both. Then the items stay as they were in the best epoch, and the profile encoder trains
on alone, now with the texts of histories, until its own best epoch.

I items, M chunks, t text dimensions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from groundswell.models.item_head import ItemHead
from groundswell.models.layers import use_bfloat16
from groundswell.trainer.encoders.batches import profile_batches, session_batches
from groundswell.trainer.encoders.inference import (
    ItemEncoder,
    LongEncoder,
    ShortEncoder,
    UserEncoders,
)
from groundswell.trainer.encoders.item_batch import ItemSampler
from groundswell.trainer.encoders.large_catalogue import readable
from groundswell.trainer.encoders.losses import EncoderLosses
from groundswell.trainer.encoders.model import JointModel
from groundswell.trainer.inputs.histories import Chunks, ChunkTable, Histories
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.checkpoint import Checkpoints, Training
from groundswell.trainer.loop.early_stopping import EarlyStopping
from groundswell.trainer.loop.epochs import train_epochs
from groundswell.trainer.loop.losses import FULL_UP_TO, is_large
from groundswell.trainer.loop.optimizer import Optimizer
from groundswell.trainer.loop.run import Run, to_tensor
from groundswell.trainer.ranking.validation import Validation

JOINT_NAME = "views"
"""The joint phase in curves, manifests and TensorBoard. Bundles hold this name, so it stays."""
PROFILE_NAME = "profile"
_TEXT_SCALE = 0.02
_PROFILE_EPOCHS = 30
_PROFILE_EPOCHS_WITHOUT_VALIDATION = 3

Steps = Iterator[tuple[Tensor, int]]
"""The losses of an epoch, and the number of targets of each."""


@dataclass(frozen=True)
class EncoderTraining:
    """The model, which steps move, and its EMA, which validation and serving use."""

    log: TrainingLog
    run: Run
    model: JointModel
    ema: AveragedModel
    items: ItemEncoder
    """By the EMA."""
    sampler: ItemSampler
    """Of the items that are trained."""
    recent_length: int
    """Newest events that the profile encoder reads as items."""


def new_encoders(log: TrainingLog, texts_It: NDArray[np.floating], run: Run) -> EncoderTraining:
    """Return a model that is not trained yet; `texts_It` are the vectors of the items' texts."""
    longest = int(np.diff(log.prepared.offsets).max(initial=1))
    recent_length = max(1, min(run.config.recent_length, longest))
    model = _initial_model(log, texts_It, recent_length, run)
    ema = AveragedModel(model)
    for head in model.heads:
        head.ids.sparse = is_large(len(texts_It))
    served = cast(JointModel, ema.module)
    # By the head of the EMA: that of the model is released after the joint phase.
    items = ItemEncoder(served, readable(to_tensor(texts_It, run.device), served.item_head))
    sampler = _sampler(log, model.item_head, items, run)
    # All processes start with the same weights; each drops other values.
    if not run.processes.is_first:
        torch.manual_seed(run.seed + run.processes.rank)
    return EncoderTraining(log, run, model, ema, items, sampler, recent_length)


def train_jointly(
    training: EncoderTraining, validation: Validation, epochs: int, checkpoints: Checkpoints
) -> None:
    """Train items and both encoders for `epochs`, or, where it is 0, until early stopping.

    No text of a history is read yet. A run that was resumed after this phase skips it.
    """
    run, items = training.run, training.items
    config = run.config
    if JOINT_NAME in run.epochs:
        return
    optimizer = Optimizer(
        training.model,
        training.ema,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        ema=config.ema,
        processes=run.processes,
    )
    stopping = EarlyStopping(config.patience, training.ema)
    state = Training(JOINT_NAME, training.model, training.ema, optimizer, stopping)
    checkpoints.restore(state)
    losses = EncoderLosses(training.model, training.sampler, items.texts_It, config)
    short = ShortEncoder(items, training.log.prepared, config.window_length)
    train_epochs(
        state,
        epochs or config.max_epochs,
        lambda: _joint_steps(training, losses),
        lambda: _ndcg(validation, short, items.vectors, run),
        run,
        checkpoints,
        is_fixed=epochs > 0,
    )


def train_profile(
    training: EncoderTraining,
    validation: Validation,
    chunks: Chunks,
    texts_Mt: NDArray[np.float32],
    checkpoints: Checkpoints,
) -> UserEncoders:
    """Train the profile encoder alone, with the texts of histories, until early stopping."""
    run, log, items, model = training.run, training.log, training.items, training.model
    config, served = run.config, training.items.model
    table = ChunkTable(log.prepared, chunks, texts_Mt)
    histories = Histories(log.prepared, table, config.max_chunks, training.recent_length)
    in_training = chunks.within(log.ends - log.prepared.offsets[:-1])
    served.profile.chunks.fit(torch.from_numpy(texts_Mt[in_training]))
    model.profile.load_state_dict(served.profile.state_dict())
    # The items are not trained any more: they are held once, and have no gradients.
    model.item_head, model.context_head = served.heads
    for head in served.heads:
        head.requires_grad_(False)
    sampler = _sampler(log, served.item_head, items, run)
    optimizer = Optimizer(
        model,
        training.ema,
        "profile",
        learning_rate=config.learning_rate / 2,
        ema=config.ema,
        processes=run.processes,
    )
    stopping = EarlyStopping(max(1, config.patience // 2), served.profile)
    state = Training(PROFILE_NAME, model.profile, training.ema, optimizer, stopping)
    checkpoints.restore(state)
    items_Id = items.vectors().clone()
    losses = EncoderLosses(model, sampler, items.texts_It, config, items_Id)
    long = LongEncoder(items, log.prepared, histories)

    def score() -> float | None:
        return _ndcg(validation, long, lambda: items_Id, run)

    if stopping.epoch == 0:
        stopping.update(0, score() or 0.0)
    most = _PROFILE_EPOCHS if validation else _PROFILE_EPOCHS_WITHOUT_VALIDATION
    train_epochs(
        state, most, lambda: _profile_steps(training, losses, table), score, run, checkpoints
    )
    short = ShortEncoder(items, log.prepared, config.window_length)
    return UserEncoders(items, short, long, training.recent_length)


def _initial_model(
    log: TrainingLog, texts_It: NDArray[np.floating], recent_length: int, run: Run
) -> JointModel:
    num_items, text_dimension = texts_It.shape
    model = JointModel(num_items, text_dimension, recent_length, run.config)
    some = texts_It[:: -(-num_items // FULL_UP_TO)].astype(np.float32, copy=False)
    for head in model.heads:
        head.fit_texts(torch.from_numpy(some))
        # Texts start as small as the ids, or else the ids would hardly count.
        head.text_scale.mul_(_TEXT_SCALE)
    if run.uses_bfloat16:
        use_bfloat16(model)
    model = model.to(run.device)
    has_event_I = to_tensor(log.has_event, run.device)
    with torch.no_grad():
        # Items without an event in training have their text alone.
        for head in model.heads:
            head.ids.weight[~has_event_I] = 0
    return model


def _sampler(log: TrainingLog, head: ItemHead, items: ItemEncoder, run: Run) -> ItemSampler:
    return ItemSampler(
        head,
        items.texts_It,
        to_tensor(log.has_event, run.device),
        num_negatives=run.config.negatives,
        id_dropout=run.config.id_dropout,
        bfloat16=run.uses_bfloat16,
        generator=run.negatives,
    )


def _joint_steps(training: EncoderTraining, losses: EncoderLosses) -> Steps:
    """Yield the losses of an epoch of both encoders, in turn."""
    training.model.train()
    log, run = training.log, training.run
    sessions = session_batches(log, run.config, run.rng, run.processes)
    profiles = profile_batches(
        log, None, training.recent_length, run.config, run.rng, run.processes
    )
    for session, profile in zip_longest(sessions, profiles):
        if session is not None:
            yield losses.session(session), session.num_targets
        if profile is not None:
            yield losses.profile(profile), profile.num_targets


def _profile_steps(training: EncoderTraining, losses: EncoderLosses, chunks: ChunkTable) -> Steps:
    training.model.train()
    log, run = training.log, training.run
    for batch in profile_batches(
        log, chunks, training.recent_length, run.config, run.rng, run.processes
    ):
        yield losses.profile(batch), batch.num_targets


def _ndcg(
    validation: Validation,
    users: Callable[[NDArray[np.int64]], Tensor],
    items: Callable[[], Tensor],
    run: Run,
) -> float | None:
    """Return NDCG@10 on validation, of the first process; None without validation."""
    if not validation:
        return None
    return run.processes.from_first(lambda: validation.ndcg(users(validation.events), items()))
