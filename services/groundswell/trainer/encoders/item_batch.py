"""The item vectors that a step of training reads and is scored against.

I items, K of them in a step, B windows of L events, n targets, t text and d vector dimensions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from groundswell.models.item_head import ItemHead
from groundswell.trainer.encoders.large_catalogue import HalfTexts
from groundswell.trainer.loop.losses import next_item_loss, sample_negatives, sampled_loss


@dataclass(frozen=True)
class ItemBatch:
    """The vectors of one step, and where in them its items are."""

    vectors_Kd: Tensor
    window_BL: Tensor
    targets_n: Tensor
    negatives_m: Tensor | None
    """None: everything else of the K is a negative."""
    bfloat16: bool

    @property
    def window_vectors(self) -> Tensor:
        """[B, L, d]"""
        return self.vectors_Kd[self.window_BL]

    def loss(self, users_nd: Tensor, weights_n: Tensor) -> Tensor:
        """Return the mean cross-entropy of the targets by weight."""
        if self.negatives_m is None:
            return next_item_loss(
                users_nd, self.targets_n, self.vectors_Kd, weights_n, bfloat16=self.bfloat16
            )
        is_target_nm = self.targets_n[:, None] == self.negatives_m[None, :]
        targets_nd, negatives_md = (
            self.vectors_Kd[self.targets_n],
            self.vectors_Kd[self.negatives_m],
        )
        return sampled_loss(users_nd, targets_nd, negatives_md, is_target_nm, weights_n)


class ItemSampler:
    """Makes the vectors of each step with the item head that is trained.

    Only items with an event in training are candidates: an item that was kept out must not be
    trained as one that nobody wants. Of a large catalogue a step computes only the vectors that it
    needs. In several processes a `generator` of one seed in each draws the same negatives.
    """

    def __init__(
        self,
        head: ItemHead,
        texts_It: Tensor | HalfTexts,
        has_event_I: Tensor,
        *,
        num_negatives: int,
        id_dropout: float,
        bfloat16: bool,
        generator: torch.Generator | None = None,
    ) -> None:
        self._head = head
        self._texts_It = texts_It
        self._known_K = has_event_I.nonzero().squeeze(1)
        self._num_negatives = num_negatives
        self._id_dropout = id_dropout
        self._bfloat16 = bfloat16
        self._generator = generator
        self._place_I = torch.zeros(len(texts_It), dtype=torch.int64, device=texts_It.device)
        self._place_I[self._known_K] = torch.arange(len(self._known_K), device=texts_It.device)
        self._is_small = sample_negatives(len(self._known_K), num_negatives) is None
        # A copy only of a small catalogue, where every step reads all of it.
        self._known_texts_Kt = texts_It[self._known_K] if self._is_small else None

    def items(
        self, window_rows_BL: Tensor, target_rows_n: Tensor, frozen_Id: Tensor | None = None
    ) -> ItemBatch:
        """Return the items of a step; `frozen_Id`, where given, holds their vectors untrained."""
        window_BL, targets_n = self._place_I[window_rows_BL], self._place_I[target_rows_n]
        if self._known_texts_Kt is not None:
            vectors_Kd = self._vectors(self._known_texts_Kt, self._known_K, frozen_Id)
            return ItemBatch(vectors_Kd, window_BL, targets_n, None, self._bfloat16)
        negatives = sample_negatives(len(self._known_K), self._num_negatives, self._generator)
        assert negatives is not None, "a large catalogue has negatives"
        negatives = negatives.to(target_rows_n.device)
        every = torch.cat([window_BL.flatten(), targets_n, negatives])
        used_K, place = every.unique(return_inverse=True)
        rows_K = self._known_K[used_K]
        vectors_Kd = self._vectors(self._texts_It[rows_K], rows_K, frozen_Id)
        sizes = [window_BL.numel(), len(targets_n), len(negatives)]
        window, targets, drawn = place.split(sizes)
        return ItemBatch(vectors_Kd, window.view_as(window_BL), targets, drawn, self._bfloat16)

    def _vectors(self, texts_Kt: Tensor, rows_K: Tensor, frozen_Id: Tensor | None) -> Tensor:
        if frozen_Id is not None:
            return frozen_Id[rows_K]
        keep_K = (torch.rand(len(rows_K), device=rows_K.device) >= self._id_dropout).float()
        vectors_Kd: Tensor = self._head.place(texts_Kt, rows_K, keep_K)
        return vectors_Kd
