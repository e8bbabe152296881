"""The loss of a batch of either user encoder.

I items, B windows of L events with T states each, n targets, d and v dimensions of vectors, w the
width of a state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from groundswell.trainer.config import TrainConfig
from groundswell.trainer.encoders.batches import EncoderBatch
from groundswell.trainer.encoders.item_batch import ItemBatch, ItemSampler
from groundswell.trainer.encoders.large_catalogue import HalfTexts
from groundswell.trainer.encoders.model import JointModel
from groundswell.trainer.inputs.histories import WindowInputs
from groundswell.trainer.loop.run import to_tensor


@dataclass(frozen=True)
class EncoderLosses:
    """Computes losses with dropout, as `config` says."""

    model: JointModel
    sampler: ItemSampler
    texts_It: Tensor | HalfTexts
    config: TrainConfig
    frozen_Id: Tensor | None = None
    """Item vectors that are not trained; None: the item head makes them for each batch."""

    def session(self, batch: EncoderBatch) -> Tensor:
        """Return this process's part of the mean loss of the session encoder."""
        session = self.model.session
        items = self._items(batch)
        states_BTw = session.states(*self._read(batch.window, items.window_vectors))
        users_nd = session.project(states_BTw[batch.targets.at(self._device)])
        return self._loss(users_nd, batch, items)

    def profile(self, batch: EncoderBatch) -> Tensor:
        """Return this process's part of the mean loss of the profile encoder."""
        profile, at = self.model.profile, batch.targets.at(self._device)
        contexts_BLc = self._contexts(batch.window)
        states_BTw = profile.events(*self._read(batch.window, contexts_BLc))
        dropped_BLc = self._without(contexts_BLc, self.config.history_dropout)
        texts_nw = None
        if batch.chunks is not None:
            chunks, ages, num = (to_tensor(x, self._device) for x in batch.chunks)
            drop_BTN = torch.rand(ages.shape, device=self._device) < self.config.chunk_dropout
            # As in serving: where nothing is encoded there is no chunk, not chunks left out.
            num = num * (torch.rand(num.shape, device=self._device) >= self.config.text_dropout)
            texts_nw = profile.chunks(states_BTw, chunks, ages, num, drop_BTN)[at]
        users_nd = profile.project(states_BTw[at], profile.sums(dropped_BLc)[at], texts_nw)
        return self._loss(users_nd, batch, self._items(batch))

    @property
    def _device(self) -> torch.device:
        return self.texts_It.device

    def _contexts(self, window: WindowInputs) -> Tensor:
        """[B, L, c] of a window; an item's id is dropped in the whole batch or nowhere in it."""
        used, place_BL = to_tensor(window.rows, self._device).unique(return_inverse=True)
        drawn = torch.rand(len(used), device=self._device)
        keep = (drawn >= self.config.id_dropout).float()
        contexts: Tensor = self.model.context_head.place(self.texts_It[used], used, keep)
        return contexts[place_BL]

    def _items(self, batch: EncoderBatch) -> ItemBatch:
        rows, targets = (
            to_tensor(x, self._device) for x in (batch.window.rows, batch.targets.items_n)
        )
        return self.sampler.items(rows, targets, self.frozen_Id)

    def _loss(self, users_nd: Tensor, batch: EncoderBatch, items: ItemBatch) -> Tensor:
        weights_n = to_tensor(batch.targets.weights_n, self._device)
        return items.loss(users_nd, weights_n) * batch.share

    def _read(self, window: WindowInputs, vectors_BLv: Tensor) -> tuple[Tensor, ...]:
        """Return what an event Transformer reads; a share of the events loses its item."""
        kept_BLv = self._without(vectors_BLv, self.config.event_dropout)
        others = (to_tensor(x, self._device) for x in (window.actions, window.gaps, window.starts))
        return (kept_BLv, *others)

    def _without(self, vectors_BLv: Tensor, share: float) -> Tensor:
        """Set the vectors of a share of the events to 0, and scale the others: the mean stays."""
        drawn_BL1 = torch.rand((*vectors_BLv.shape[:2], 1), device=self._device)
        return vectors_BLv * ((drawn_BL1 >= share) / (1 - share))
