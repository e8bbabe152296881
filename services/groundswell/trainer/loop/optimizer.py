"""One step of training: gradients of all processes, Adam with warm-up, the EMA of the weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from groundswell.trainer.loop.distributed import ALONE, Processes
from groundswell.trainer.loop.ema import Ema, moved_rows

_BETAS = (0.9, 0.98)
_STEPS = "steps"


class Optimizer:
    """Adam, its warm-up, and the EMA of the weights over all steps.

    Sparse embeddings are moved and averaged row by row, so that a step costs nothing for the rows
    that it does not read; Adam does not update their moments meanwhile. Each process brings the
    loss of its share of a step, and all take the same step.
    """

    def __init__(
        self,
        model: nn.Module,
        averaged: AveragedModel,
        part: str = "",
        *,
        learning_rate: float,
        warmup_steps: int = 0,
        ema: float,
        processes: Processes = ALONE,
    ) -> None:
        """Train `model`, or its submodule `part` alone; `averaged` holds the EMA of its weights."""
        self._ema = Ema(model.get_submodule(part), averaged, part, ema)
        self._dense, self._tables, self._processes = self._ema.dense, self._ema.tables, processes
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(self._dense, lr=learning_rate, betas=_BETAS)
        ]
        if self._tables:
            rows = [table.weight for table in self._tables]
            self._optimizers.append(torch.optim.SparseAdam(rows, lr=learning_rate, betas=_BETAS))
        self._learning_rate, self._warmup_steps = learning_rate, max(1, warmup_steps)

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of a loss, summed over all processes."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        if self._processes.size > 1:
            self._sum_gradients()
        rows = moved_rows(self._tables)
        self._ema.before_step(rows)
        warm = min(1.0, (self._ema.steps + 1) / self._warmup_steps)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate * warm
            optimizer.step()
        self._ema.after_step(rows)

    def settle(self) -> None:
        """Bring the EMA of every table row up to date: it may be read until the next step."""
        self._ema.settle()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what decides further steps, besides the weights and their settled EMA."""
        found = {_STEPS: torch.tensor(self._ema.steps)}
        for place, optimizer in enumerate(self._optimizers):
            for number, moments in optimizer.state_dict()["state"].items():
                for key, value in moments.items():
                    found[f"{place}.{number}.{key}"] = torch.as_tensor(value)
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a `state_dict`; the weights and their EMA must be those of the same step."""
        found: list[dict[int, dict[str, Any]]] = [{} for _ in self._optimizers]
        for name, value in state.items():
            if name == _STEPS:
                self._ema.settled_at(int(value))
                continue
            place, number, key = name.split(".")
            # SparseAdam counts its steps in a Python int.
            known = value if value.is_floating_point() else value.item()
            found[int(place)].setdefault(int(number), {})[key] = known
        for optimizer, moments in zip(self._optimizers, found, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _sum_gradients(self) -> None:
        """Replace all gradients by their sums over all processes."""
        dense = [p.grad for p in self._dense if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in dense])
        self._processes.sum(flat)
        parts = flat.split([gradient.numel() for gradient in dense])
        for gradient, part in zip(dense, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        for weight in (table.weight for table in self._tables):
            if weight.grad is not None:
                own = weight.grad.coalesce()
                rows = torch.cat(self._processes.gather(own.indices()[0]))
                values = torch.cat(self._processes.gather(own.values()))
                weight.grad = torch.sparse_coo_tensor(
                    rows[None], values, weight.shape, check_invariants=False
                )
