"""The training loop of a text encoder: learning-rate schedule, progress, curves."""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop.run import Run

PRETRAINING, FINETUNING = "text pre-training", "text fine-tuning"
"""The stages, as progress and TensorBoard name them."""
_WARMUP = 0.1
_WEIGHT_DECAY = 0.01
_LONGEST_GRADIENT = 1.0
_SHOWN_EVERY = 10

B = TypeVar("B")


def train_steps(
    name: str,
    model: nn.Module,
    batches: Iterator[B],
    losses: Callable[[B], dict[str, Tensor]],
    learning_rate: float,
    steps: int,
    run: Run,
) -> None:
    """Take AdamW steps on the sum of the losses; the rate rises, then falls to nothing.

    On a GPU the forward pass runs in bf16. Raises TrainError when a loss is not finite.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    task = run.progress.add_task(name, total=steps, note="")
    model.train()
    for step in range(steps):
        with torch.autocast(run.device.type, torch.bfloat16, enabled=run.device.type == "cuda"):
            parts = losses(next(batches))
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        if step % _SHOWN_EVERY == 0 or step + 1 == steps:
            _show(name, step, parts, run)
        run.progress.update(task, advance=1, note=f"loss {loss.item():.3f}")
    model.eval()


def _rate(step: int, steps: int) -> float:
    warmup = max(1, math.ceil(steps * _WARMUP))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup + 1))


def _show(name: str, step: int, parts: dict[str, Tensor], run: Run) -> None:
    for part, value in parts.items():
        if not math.isfinite(value.item()):
            raise TrainError(f"the {part} loss of the {name} became {value.item()} in step {step}")
        run.log_scalar(f"{name}/{part}", value.item(), step + 1)
