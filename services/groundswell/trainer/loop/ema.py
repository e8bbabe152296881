"""The exponential moving average (EMA) of a model's weights, over all steps of training."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Weights(NamedTuple):
    """The parameters of a module, by name."""

    dense: dict[str, nn.Parameter]
    tables: dict[str, nn.Embedding]
    """The sparse embeddings: a step moves only the rows that it reads."""

    @classmethod
    def of(cls, module: nn.Module) -> "Weights":
        """Sort a module's parameters."""
        tables = {
            name: child
            for name, child in module.named_modules()
            if isinstance(child, nn.Embedding) and child.sparse
        }
        in_tables = {f"{name}.weight" for name in tables}
        dense = {n: p for n, p in module.named_parameters() if n not in in_tables}
        return cls(dense, tables)


class Ema:
    """Updates the EMA in `averaged` of the `weights` that a step moves."""

    def __init__(self, weights: Weights, averaged: AveragedModel, part: str, decay: float) -> None:
        """`weights` are those of the submodule `part` of the trained model."""
        means = dict(averaged.module.get_submodule(part).named_parameters())
        self._averaged, self._average = averaged, get_ema_multi_avg_fn(decay)
        self._dense_means = [means[name].detach() for name in weights.dense]
        self._dense = [parameter.detach() for parameter in weights.dense.values()]
        self.tables = TableEma(
            list(weights.tables.values()), [means[f"{n}.weight"] for n in weights.tables], decay
        )

    def before_step(self, rows: Sequence[Tensor]) -> None:
        """`rows` [K], of each table, are those that the step is about to move."""
        self.tables.before_step(rows)

    def after_step(self, rows: Sequence[Tensor]) -> None:
        """Add the weights after the step to their EMA; the first step sets it."""
        self.tables.after_step(rows)
        if self._averaged.n_averaged == 0:
            torch._foreach_copy_(self._dense_means, self._dense)
        else:
            self._average(self._dense_means, self._dense, self._averaged.n_averaged)
        self._averaged.n_averaged += 1


class TableEma:
    """The EMA of embedding tables, updated only for the rows that a step moves.

    A row that does not move for s steps comes nearer to its mean by decay ** s: so its mean is
    updated when the row moves again, or when it is read. The result is that of updating all rows at
    every step. The first step sets the mean, as `AveragedModel` does; until then both are equal.
    """

    def __init__(
        self, tables: Sequence[nn.Embedding], means: Sequence[nn.Parameter], decay: float
    ) -> None:
        self._pairs = [
            (table.weight.detach(), mean.detach())
            for table, mean in zip(tables, means, strict=True)
        ]
        self._current = [
            torch.zeros(len(value), dtype=torch.int32, device=value.device)
            for value, _ in self._pairs
        ]
        """[I] the step up to which each row's mean is computed."""
        self._decay = decay
        self.steps = 0

    def before_step(self, rows: Sequence[Tensor]) -> None:
        """Bring the means of the rows that a step is about to move up to date, table by table."""
        for (value, mean), current, moved in zip(self._pairs, self._current, rows, strict=True):
            mean[moved] = value[moved].lerp(mean[moved], self._late(current[moved]))

    def after_step(self, rows: Sequence[Tensor]) -> None:
        """Add the moved rows to their means."""
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
        """Resume from means that were settled after so many steps."""
        self.steps = steps
        for current in self._current:
            current.fill_(steps)

    def _late(self, current: Tensor) -> Tensor:
        """[..., 1] which part is left of a row's distance to its mean at the step `current`."""
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
