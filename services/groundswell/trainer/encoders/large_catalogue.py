"""The parts of a large catalogue that no step may touch as a whole: its texts and its id tables.

I items, K of them in a step, d vector and t text dimensions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from groundswell.models.item_head import ItemHead
from groundswell.trainer.loop.losses import FULL_UP_TO, is_large


class HalfTexts:
    """[I, t] texts of a large catalogue, in half precision; rows are normalised as they are read.

    It stands where a small catalogue has a tensor of normalised texts.
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


class TableMeans:
    """The exponential mean of embeddings over all steps, kept up by the rows that each step moves.

    A row that stands still for s steps comes nearer to its mean by decay ** s: so its mean may wait
    until the row moves again or is read. The outcome is that of a mean that every step updates.
    The first step sets the mean, as `AveragedModel` does; until then both must be the same.
    """

    def __init__(
        self, tables: Sequence[nn.Embedding], means: Sequence[nn.Embedding], decay: float
    ) -> None:
        self._pairs = [
            (t.weight.detach(), m.weight.detach()) for t, m in zip(tables, means, strict=True)
        ]
        self._current = [
            torch.zeros(len(value), dtype=torch.int32, device=value.device)
            for value, _ in self._pairs
        ]
        """[I] the step of which each row's mean is."""
        self._decay = decay
        self.steps = 0

    def before_step(self, rows: Sequence[Tensor]) -> None:
        """Bring the means of the rows, of each table, that a step is about to move up to date."""
        for (value, mean), current, moved in zip(self._pairs, self._current, rows, strict=True):
            mean[moved] = value[moved].lerp(mean[moved], self._late(current[moved]))

    def after_step(self, rows: Sequence[Tensor]) -> None:
        """Add what the step made of the rows."""
        self.steps += 1
        new = 1 - self._decay if self.steps > 1 else 1.0
        for (value, mean), current, moved in zip(self._pairs, self._current, rows, strict=True):
            mean[moved] = mean[moved].lerp(value[moved], new)
            current[moved] = self.steps

    def settle(self) -> None:
        """Bring all means up to date: they may be read until the next step."""
        for (value, mean), current in zip(self._pairs, self._current, strict=True):
            mean.sub_(value).mul_(self._late(current)).add_(value)
            current.fill_(self.steps)

    def settled_at(self, steps: int) -> None:
        """Go on from means that were settled after so many steps."""
        self.steps = steps
        for current in self._current:
            current.fill_(steps)

    def _late(self, current: Tensor) -> Tensor:
        """[..., 1] how much is left of the distance to a value that stood still since then."""
        return (self._decay ** (self.steps - current).float())[:, None]


def moved_rows(tables: Sequence[nn.Embedding]) -> list[Tensor]:
    """Return [K] the rows of each sparse table that have a gradient."""
    rows = []
    for table in tables:
        gradient = table.weight.grad
        if gradient is None:
            rows.append(torch.empty(0, dtype=torch.int64, device=table.weight.device))
            continue
        table.weight.grad = gradient.coalesce()
        rows.append(table.weight.grad.indices()[0])
    return rows
