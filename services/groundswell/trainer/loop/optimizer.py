"""What one step of training does to the weights and to their mean."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from groundswell.trainer.encoders.large_catalogue import TableMeans, moved_rows
from groundswell.trainer.loop.distributed import ALONE, Workers

_BETAS = (0.9, 0.98)
_STEPS = "steps"


class Updates:
    """Adam, its warm-up, and the exponential mean of the weights over all steps.

    Embeddings that are `sparse` are moved and averaged row by row, so that a step costs nothing for
    the rows that it does not read; Adam's moments of those stand still meanwhile. Of several
    processes each brings the loss of its share of a step, and all take the same step.
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
        workers: Workers = ALONE,
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
        self._dense, self._workers = list(dense.values()), workers
        self._pairs = [(means[name].detach(), p.detach()) for name, p in dense.items()]
        self._mean, self._average = mean, get_ema_multi_avg_fn(ema)
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(self._dense, lr=learning_rate, betas=_BETAS)
        ]
        if self._tables:
            weights = [table.weight for table in self._tables]
            self._optimizers.append(torch.optim.SparseAdam(weights, lr=learning_rate, betas=_BETAS))
        self._learning_rate, self._warmup_steps = learning_rate, max(1, warmup_steps)

    def step(self, loss: Tensor) -> None:
        """Take one step down the slope of a loss, of the sum of losses of all processes."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        if self._workers.size > 1:
            self._sum_gradients()
        rows = moved_rows(self._tables)
        self._table_means.before_step(rows)
        warm = min(1.0, (self._table_means.steps + 1) / self._warmup_steps)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate * warm
            optimizer.step()
        self._table_means.after_step(rows)
        self._update_mean()

    def settle(self) -> None:
        """Bring the mean of every row up to date: it may be read until the next step."""
        self._table_means.settle()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what decides further steps, besides the weights and their settled mean."""
        found = {_STEPS: torch.tensor(self._table_means.steps)}
        for place, optimizer in enumerate(self._optimizers):
            for number, moments in optimizer.state_dict()["state"].items():
                for key, value in moments.items():
                    found[f"{place}.{number}.{key}"] = torch.as_tensor(value)
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` said; weights and mean must be those of then."""
        found: list[dict[int, dict[str, Any]]] = [{} for _ in self._optimizers]
        for name, value in state.items():
            if name == _STEPS:
                self._table_means.settled_at(int(value))
                continue
            place, number, key = name.split(".")
            # SparseAdam counts its steps in a number of Python's.
            known = value if value.is_floating_point() else value.item()
            found[int(place)].setdefault(int(number), {})[key] = known
        for optimizer, moments in zip(self._optimizers, found, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _sum_gradients(self) -> None:
        """Sum the gradients of all processes; each has some of the same weights."""
        dense = [p.grad for p in self._dense if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in dense])
        self._workers.sum(flat)
        parts = flat.split([gradient.numel() for gradient in dense])
        for gradient, part in zip(dense, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        for weight in (table.weight for table in self._tables):
            if weight.grad is not None:
                own = weight.grad.coalesce()
                rows = torch.cat(self._workers.gather(own.indices()[0]))
                values = torch.cat(self._workers.gather(own.values()))
                weight.grad = torch.sparse_coo_tensor(
                    rows[None], values, weight.shape, check_invariants=False
                )

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
