"""Trains the items and both views of a user together, at every position of every history.

Both encoders read and predict the same item vectors, so a step of either moves those too: what the
long-term view needs of an item differs from what the next event needs, and the vectors must hold
both. Once the session's part has its best epoch, the items stand, and the profile goes on alone to
its own best, with the texts of histories, which nothing before has read.

I items, B windows, T states, n targets, t text dimensions, d dimensions of the one space.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from groundswell.models.item_head import ItemHead
from groundswell.models.layers import use_bfloat16
from groundswell.trainer.encoders.batches import Batch, profile_batches, session_batches
from groundswell.trainer.encoders.item_batch import ItemSource, StepItems
from groundswell.trainer.encoders.large_catalogue import place_all, readable
from groundswell.trainer.encoders.model import ViewModels
from groundswell.trainer.inputs.histories import (
    Chunks,
    ChunkTable,
    Histories,
    WindowInputs,
    windows_before,
)
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.checkpoint import Checkpoints, Training
from groundswell.trainer.loop.epochs import train_epochs
from groundswell.trainer.loop.losses import FULL_UP_TO, is_large
from groundswell.trainer.loop.optimizer import Updates
from groundswell.trainer.loop.run import Run, to_tensor
from groundswell.trainer.ranking.validation import Best, Validation

NAME = "views"
PROFILE_NAME = "profile"
_TEXT_SCALE = 0.02
_BATCH = 512
_PROFILE_EPOCHS = 30
_PROFILE_EPOCHS_WITHOUT_VALIDATION = 3


class ViewsStage:
    """The items and both encoders: `item_head`, `session` and `profile` are what is served."""

    def __init__(
        self,
        log: TrainingLog,
        texts_It: NDArray[np.floating],
        run: Run,
        checkpoints: Checkpoints,
    ) -> None:
        config, prepared = run.config, log.prepared
        self._log, self._run, self._checkpoints = log, run, checkpoints
        longest = int(np.diff(prepared.offsets).max(initial=1))
        self.recent_length = max(1, min(config.recent_length, longest))
        self._histories: Histories  # known from `train_profile` on
        num_items, text_dimension = texts_It.shape
        trained = ViewModels(num_items, text_dimension, self.recent_length, config)
        some = texts_It[:: -(-num_items // FULL_UP_TO)].astype(np.float32, copy=False)
        for head in (trained.item_head, trained.context_head):
            head.fit_texts(torch.from_numpy(some))
            # Text starts as small as the ids do: it must not drown them.
            head.text_scale.mul_(_TEXT_SCALE)
        if run.uses_bfloat16:
            use_bfloat16(trained)
        self._trained = trained.to(run.device)
        has_event_I = to_tensor(log.has_event, run)
        with torch.no_grad():
            # What training never sees is placed by its text alone.
            for head in (trained.item_head, trained.context_head):
                head.ids.weight[~has_event_I] = 0
        # Validation and serving use the mean over the last steps: it ranks better than any one.
        self._mean = AveragedModel(self._trained)
        for head in (trained.item_head, trained.context_head):
            head.ids.sparse = is_large(num_items)
        served = cast(ViewModels, self._mean.module)
        self.item_head, self.context_head = served.item_head, served.context_head
        self.session, self.profile = served.session, served.profile
        # By the head that stays: the trained ones go once the items stand.
        self._texts_It = readable(to_tensor(texts_It, run), self.item_head)
        self._items = self._items_of(trained.item_head)
        # All processes have the same weights; what each drops is its own.
        if not run.workers.is_first:
            torch.manual_seed(run.seed + run.workers.rank)

    def train(self, validation: Validation, epochs: int) -> None:
        """Train items and both encoders for `epochs`, or until validation has its best.

        No text of a history is read yet.
        """
        config, run = self._run.config, self._run
        if NAME in run.epochs:
            return
        updates = Updates(
            self._trained,
            self._mean,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            ema=config.ema,
            workers=run.workers,
        )
        best = Best(config.patience, self._mean)
        training = Training(NAME, self._trained, self._mean, updates, best)
        self._checkpoints.restore(training)

        def score() -> float | None:
            if not validation:
                return None
            return run.workers.from_first(
                lambda: validation.score(self.short(validation.events), self.item_vectors()).ndcg
            )

        most, is_fixed = epochs or config.max_epochs, epochs > 0
        train_epochs(training, most, self._steps, score, run, self._checkpoints, is_fixed=is_fixed)

    def train_profile(
        self, validation: Validation, chunks: Chunks, texts_Mt: NDArray[np.float32]
    ) -> None:
        """Train the profile on, with the texts of its histories, until validation has its best."""
        config, run = self._run.config, self._run
        table = ChunkTable(self._log.prepared, chunks, texts_Mt)
        self._histories = Histories(
            self._log.prepared, table, config.max_chunks, self.recent_length
        )
        in_training = chunks.within(self._log.ends - self._log.prepared.offsets[:-1])
        self.profile.chunks.fit(torch.from_numpy(texts_Mt[in_training]))
        trained = self._trained
        trained.profile.load_state_dict(self.profile.state_dict())
        # What stands still is held once, and has no gradients.
        trained.item_head, trained.context_head = self.item_head, self.context_head
        for head in (self.item_head, self.context_head):
            head.requires_grad_(False)
        self._items = self._items_of(self.item_head)
        updates = Updates(
            trained,
            self._mean,
            "profile",
            learning_rate=config.learning_rate / 2,
            ema=config.ema,
            workers=run.workers,
        )
        best = Best(max(1, config.patience // 2), self.profile)
        training = Training(PROFILE_NAME, trained.profile, self._mean, updates, best)
        self._checkpoints.restore(training)
        items_Id = self.item_vectors().clone()

        def steps() -> Iterator[tuple[Tensor, int]]:
            for batch in self._profile_batches(table):
                yield self._profile_loss(batch, items_Id), batch.num_targets

        def score() -> float | None:
            if not validation:
                return None
            return run.workers.from_first(
                lambda: validation.score(self.long(validation.events), items_Id).ndcg
            )

        if training.epoch == 0:
            best.is_over(0, score() or 0.0)
        most = _PROFILE_EPOCHS if validation else _PROFILE_EPOCHS_WITHOUT_VALIDATION
        train_epochs(training, most, steps, score, run, self._checkpoints)
        self._mean.eval()

    def _items_of(self, head: ItemHead) -> ItemSource:
        config = self._run.config
        return ItemSource(
            head,
            self._texts_It,
            to_tensor(self._log.has_event, self._run),
            num_negatives=config.negatives,
            id_dropout=config.id_dropout,
            bfloat16=self._run.uses_bfloat16,
            generator=self._run.negatives,
        )

    def item_vectors(self) -> Tensor:
        """[I, d] vectors of all items."""
        return self._vectors(self.item_head, self._all_rows())

    def context_vectors(self) -> Tensor:
        """[I, c] context vectors of all items."""
        return self._vectors(self.context_head, self._all_rows())

    def text_only_vectors(self) -> Tensor:
        """[I, d] vectors of all items as if training had not known them."""
        return self._vectors(self.item_head, torch.full_like(self._all_rows(), -1))

    @torch.inference_mode()
    def short(self, events: NDArray[np.int64]) -> Tensor:
        """[n, d] short-term vectors before each event."""
        self._mean.eval()
        items_Id = self.item_vectors()
        found = [items_Id[:0]]
        for start in range(0, len(events), _BATCH):
            part = events[start : start + _BATCH]
            window = windows_before(self._log.prepared, part, self._run.config.window_length)
            rows, *others = (to_tensor(x, self._run) for x in window)
            found.append(self.session(items_Id[rows], *others))
        return torch.cat(found)

    @torch.inference_mode()
    def long(self, events: NDArray[np.int64]) -> Tensor:
        """[n, d] long-term vectors before each event, as the profile is by then.

        Only after `train_profile` began, which knows the texts.
        """
        self._mean.eval()
        contexts_Ic = self.context_vectors().cpu().numpy()
        # Events of a session share the profile that stood when it began.
        known = self._log.prepared.profile_until(events)
        _, first, place = np.unique(known, return_index=True, return_inverse=True)
        found = [torch.empty(0, self._run.config.dimension, device=self._run.device)]
        for start in range(0, len(first), _BATCH):
            inputs = self._histories.before(events[first[start : start + _BATCH]])
            named = {k: to_tensor(v, self._run) for k, v in inputs.named(contexts_Ic).items()}
            found.append(self.profile(**named))
        return torch.cat(found)[torch.from_numpy(place)]

    @torch.inference_mode()
    def _vectors(self, head: ItemHead, rows_I: Tensor) -> Tensor:
        self._mean.eval()
        return place_all(head, self._texts_It, rows_I)

    def _all_rows(self) -> Tensor:
        return torch.arange(len(self._texts_It), device=self._run.device)

    def _steps(self) -> Iterator[tuple[Tensor, int]]:
        """Yield the losses of an epoch, of both encoders in turn, and the targets of each."""
        run = self._run
        sessions = session_batches(self._log, run.config, run.rng, run.workers)
        for short, long in zip_longest(sessions, self._profile_batches(None)):
            if short is not None:
                yield self._session_loss(short), short.num_targets
            if long is not None:
                yield self._profile_loss(long, None), long.num_targets

    def _profile_batches(self, chunks: ChunkTable | None) -> Iterator[Batch]:
        self._trained.train()
        run = self._run
        return profile_batches(
            self._log, chunks, self.recent_length, run.config, run.rng, run.workers
        )

    def _session_loss(self, batch: Batch) -> Tensor:
        session = self._trained.session
        items = self._step_items(batch, None)
        states_BTw = session.states(*self._read(batch.window, items.window_vectors))
        return self._loss(session.project(states_BTw[self._at(batch)]), batch, items)

    def _profile_loss(self, batch: Batch, items_Id: Tensor | None) -> Tensor:
        """With `items_Id` the items stand still."""
        profile = self._trained.profile
        contexts_BMc = self._contexts(batch.window)
        states_BTw = profile.events(*self._read(batch.window, contexts_BMc))
        dropped_BMc = self._without(contexts_BMc, self._run.config.history_dropout)
        at = self._at(batch)
        texts_nw = None
        if batch.chunks is not None:
            chunks, ages, num = (to_tensor(x, self._run) for x in batch.chunks)
            drop_BTN = torch.rand(ages.shape, device=self._run.device)
            drop_BTN = drop_BTN < self._run.config.chunk_dropout
            texts_nw = profile.chunks(states_BTw, chunks, ages, num, drop_BTN)[at]
        users_nd = profile.project(states_BTw[at], profile.sums(dropped_BMc)[at], texts_nw)
        return self._loss(users_nd, batch, self._step_items(batch, items_Id))

    def _contexts(self, window: WindowInputs) -> Tensor:
        """[B, M, c] of a window; an item that lost its id has lost it in all of the batch."""
        used, place_BM = to_tensor(window.rows, self._run).unique(return_inverse=True)
        drawn = torch.rand(len(used), device=self._run.device)
        keep = (drawn >= self._run.config.id_dropout).float()
        contexts: Tensor = self._trained.context_head.place(self._texts_It[used], used, keep)
        return contexts[place_BM]

    def _step_items(self, batch: Batch, frozen_Id: Tensor | None) -> StepItems:
        rows, targets = (
            to_tensor(x, self._run) for x in (batch.window.rows, batch.targets.items_n)
        )
        return self._items.step(rows, targets, frozen_Id)

    def _loss(self, users_nd: Tensor, batch: Batch, items: StepItems) -> Tensor:
        """Return the part of the step's mean loss that is this process's."""
        return items.loss(users_nd, to_tensor(batch.targets.weights_n, self._run)) * batch.share

    def _read(self, window: WindowInputs, vectors_BLv: Tensor) -> tuple[Tensor, ...]:
        """Return what an event Transformer reads; a share of the events loses its item."""
        kept_BLv = self._without(vectors_BLv, self._run.config.event_dropout)
        others = (to_tensor(x, self._run) for x in (window.actions, window.gaps, window.starts))
        return (kept_BLv, *others)

    def _without(self, vectors_BLv: Tensor, share: float) -> Tensor:
        """Drop the vectors of a share of the events, and scale the others so that the sum stays."""
        drawn_BL1 = torch.rand((*vectors_BLv.shape[:2], 1), device=self._run.device)
        return vectors_BLv * ((drawn_BL1 >= share) / (1 - share))

    def _at(self, batch: Batch) -> tuple[Tensor, Tensor]:
        targets = batch.targets
        return to_tensor(targets.window_n, self._run), to_tensor(targets.slot_n, self._run)
