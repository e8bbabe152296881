"""What one step of training does to the weights and to their mean."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from groundswell.trainer.item_tables import TableMeans, moved_rows

_BETAS = (0.9, 0.98)


class Updates:
    """Adam, its warm-up, and the exponential mean of the weights over all steps.

    Embeddings that are `sparse` are moved and averaged row by row, so that a step costs nothing for
    the rows that it does not read; Adam's moments of those stand still meanwhile.
    """

    def __init__(
        self,
        trained: nn.Module,
        mean: AveragedModel,
        part: str = "",
        *,
        learning_rate: float,
        warmup_steps: int = 0,
        ema: float,
    ) -> None:
        """`part` names a submodule of `trained`, whose weights alone are moved then."""
        moved, averaged = trained.get_submodule(part), mean.module.get_submodule(part)
        by_row = [
            name
            for name, module in moved.named_modules()
            if isinstance(module, nn.Embedding) and module.sparse
        ]
        self._tables = [_embedding(moved, name) for name in by_row]
        self._table_means = TableMeans(
            self._tables, [_embedding(averaged, name) for name in by_row], ema
        )
        in_tables = {f"{name}.weight" for name in by_row}
        dense = {n: p for n, p in moved.named_parameters() if n not in in_tables}
        means = dict(averaged.named_parameters())
        self._pairs = [(means[name].detach(), p.detach()) for name, p in dense.items()]
        self._mean, self._average = mean, get_ema_multi_avg_fn(ema)
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(dense.values(), lr=learning_rate, betas=_BETAS)
        ]
        if self._tables:
            weights = [table.weight for table in self._tables]
            self._optimizers.append(torch.optim.SparseAdam(weights, lr=learning_rate, betas=_BETAS))
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup_steps))
            )
            for optimizer in self._optimizers
        ]

    def step(self, loss: Tensor) -> None:
        """Take one step down the slope of a loss."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        rows = moved_rows(self._tables)
        self._table_means.before_step(rows)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()
        self._table_means.after_step(rows)
        self._update_mean()

    def settle(self) -> None:
        """Bring the mean of every row up to date: it may be read until the next step."""
        self._table_means.settle()

    def _update_mean(self) -> None:
        means, values = (list(part) for part in zip(*self._pairs, strict=True))
        if self._mean.n_averaged == 0:
            torch._foreach_copy_(means, values)
        else:
            self._average(means, values, self._mean.n_averaged)
        self._mean.n_averaged += 1


def _embedding(module: nn.Module, name: str) -> nn.Embedding:
    found = module.get_submodule(name)
    assert isinstance(found, nn.Embedding)
    return found
