"""The texts and vectors of a large catalogue, held in half precision and computed in parts.

I items, d vector and t text dimensions.
"""

import torch
from torch import Tensor

from groundswell.models.item_head import ItemHead
from groundswell.trainer.loop.losses import FULL_UP_TO, is_large


class HalfTexts:
    """[I, t] texts of a large catalogue, in half precision; rows are normalised as they are read.

    It is used like the tensor of normalised texts of a small catalogue.
    """

    def __init__(self, texts_It: Tensor, head: ItemHead) -> None:
        self._texts_It = texts_It.half()
        self._head = head
        self.device = texts_It.device

    def __len__(self) -> int:
        return len(self._texts_It)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """[..., t] normalised float32 texts of some rows."""
        return self._head.normalised(self._texts_It[rows].float())


def readable(texts_It: Tensor, head: ItemHead) -> Tensor | HalfTexts:
    """Return [I, t] texts as the head reads them, whatever the size of the catalogue."""
    return HalfTexts(texts_It, head) if is_large(len(texts_It)) else head.normalised(texts_It)


def place_all(head: ItemHead, texts_It: Tensor | HalfTexts, rows_I: Tensor) -> Tensor:
    """Return [I, d] vectors of all items by their `rows_I`, of which -1 stands for no id."""
    if not isinstance(texts_It, HalfTexts):
        vectors: Tensor = head.place(texts_It, rows_I)
        return vectors
    vectors_Id = torch.empty(len(rows_I), head.ids.embedding_dim, device=rows_I.device)
    for start in range(0, len(rows_I), FULL_UP_TO):
        part = slice(start, start + FULL_UP_TO)
        vectors_Id[part] = head.place(texts_It[part], rows_I[part])
    return vectors_Id
