"""The exponential moving average (EMA) of a model's weights, over all steps of training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Ema:
    """Updates the EMA of a module's weights: dense ones at each step, sparse embeddings by row.

    A row that does not move for s steps comes nearer to its mean by decay ** s: so its mean is
    updated when the row moves again, or when it is read. The result is that of updating all rows at
    every step. The first step sets the mean, as `AveragedModel` does; until then both are equal.
    """

    def __init__(self, module: nn.Module, averaged: AveragedModel, part: str, decay: float) -> None:
        """`averaged` holds the EMA of the module, as its submodule `part`."""
        tables = {
            name: child
            for name, child in module.named_modules()
            if isinstance(child, nn.Embedding) and child.sparse
        }
        in_tables = {f"{name}.weight" for name in tables}
        dense = {n: p for n, p in module.named_parameters() if n not in in_tables}
        means = dict(averaged.module.get_submodule(part).named_parameters())
        self.tables, self.dense = list(tables.values()), list(dense.values())
        self.steps = 0
        self._averaged, self._average, self._decay = averaged, get_ema_multi_avg_fn(decay), decay
        self._dense_means = [means[name].detach() for name in dense]
        self._rows = [(t.weight.detach(), means[f"{n}.weight"].detach()) for n, t in tables.items()]
        self._current = [
            torch.zeros(len(value), dtype=torch.int32, device=value.device)
            for value, _ in self._rows
        ]
        """[I] the step up to which each row's mean is computed."""

    def before_step(self, rows: Sequence[Tensor]) -> None:
        """Bring the means of the rows that a step is about to move up to date, table by table."""
        for (value, mean), current, moved in zip(self._rows, self._current, rows, strict=True):
            mean[moved] = value[moved].lerp(mean[moved], self._late(current[moved]))

    def after_step(self, rows: Sequence[Tensor]) -> None:
        """Add the moved rows and the dense weights to their means."""
        self.steps += 1
        new = 1 - self._decay if self.steps > 1 else 1.0
        for (value, mean), current, moved in zip(self._rows, self._current, rows, strict=True):
            mean[moved] = mean[moved].lerp(value[moved], new)
            current[moved] = self.steps
        dense = [parameter.detach() for parameter in self.dense]
        if self._averaged.n_averaged == 0:
            torch._foreach_copy_(self._dense_means, dense)
        else:
            self._average(self._dense_means, dense, self._averaged.n_averaged)
        self._averaged.n_averaged += 1

    def settle(self) -> None:
        """Bring the means of all rows up to date: they may be read until the next step."""
        for (value, mean), current in zip(self._rows, self._current, strict=True):
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
