"""Vectors of items and of users before given events, by trained weights; nothing is learned here.

I items, n events, d dimensions of the one space, c dimensions of a context vector.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.models.item_head import ItemHead
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.encoders.large_catalogue import HalfTexts, place_all
from groundswell.trainer.encoders.model import JointModel
from groundswell.trainer.inputs.histories import Histories, windows_before
from groundswell.trainer.loop.run import to_tensor

_BATCH = 512


@dataclass(frozen=True)
class ItemEncoder:
    """Makes the vectors of all items from their ids and texts."""

    model: JointModel
    texts_It: Tensor | HalfTexts
    """As `large_catalogue.readable` returns them."""

    def vectors(self) -> Tensor:
        """[I, d] vectors of all items."""
        return self._place(self.model.item_head, self._all_rows())

    def contexts(self) -> Tensor:
        """[I, c] context vectors of all items."""
        return self._place(self.model.context_head, self._all_rows())

    def text_only(self) -> Tensor:
        """[I, d] vectors of all items without their ids, as of items that training does not see."""
        return self._place(self.model.item_head, torch.full_like(self._all_rows(), -1))

    @torch.inference_mode()
    def _place(self, head: ItemHead, rows_I: Tensor) -> Tensor:
        self.model.eval()
        return place_all(head, self.texts_It, rows_I)

    def _all_rows(self) -> Tensor:
        return torch.arange(len(self.texts_It), device=self.texts_It.device)


@dataclass(frozen=True)
class ShortEncoder:
    """Makes the short-term vector of a user from the newest events."""

    items: ItemEncoder
    prepared: Prepared
    window_length: int

    @torch.inference_mode()
    def __call__(self, events: NDArray[np.int64]) -> Tensor:
        """[n, d] short-term vectors before each event."""
        items_Id = self.items.vectors()
        found = [items_Id[:0]]
        for start in range(0, len(events), _BATCH):
            part = events[start : start + _BATCH]
            window = windows_before(self.prepared, part, self.window_length)
            rows, *others = (to_tensor(x, items_Id.device) for x in window)
            found.append(self.items.model.session(items_Id[rows], *others))
        return torch.cat(found)


@dataclass(frozen=True)
class LongEncoder:
    """Makes the long-term vector of a user from the whole history."""

    items: ItemEncoder
    prepared: Prepared
    histories: Histories

    @torch.inference_mode()
    def __call__(self, events: NDArray[np.int64]) -> Tensor:
        """[n, d] long-term vectors before each event, of the events that the profile has by then.

        Where events of a session share a profile, it is encoded once.
        """
        contexts_Ic = self.items.contexts()
        contexts, device = contexts_Ic.cpu().numpy(), contexts_Ic.device
        known = self.prepared.profile_until(events)
        _, first, place = np.unique(known, return_index=True, return_inverse=True)
        found = [torch.empty(0, self.items.model.item_head.ids.embedding_dim, device=device)]
        for start in range(0, len(first), _BATCH):
            inputs = self.histories.before(events[first[start : start + _BATCH]])
            named = {name: to_tensor(x, device) for name, x in inputs.named(contexts).items()}
            found.append(self.items.model.profile(**named))
        return torch.cat(found)[torch.from_numpy(place)]


@dataclass(frozen=True)
class UserEncoders:
    """Both user encoders and the items, trained."""

    items: ItemEncoder
    short: ShortEncoder
    long: LongEncoder
    recent_length: int
    """Newest events that `long` reads as items."""

    def without_text(self) -> "UserEncoders":
        """Return the same with profiles that read no text."""
        return replace(self, long=replace(self.long, histories=self.long.histories.without_text()))

    @property
    def model(self) -> JointModel:
        """The weights."""
        return self.items.model
