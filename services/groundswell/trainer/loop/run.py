"""The parts that all stages of a training run share: seed, device, progress, TensorBoard."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from groundswell.trainer.config import TrainConfig
from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop.distributed import ALONE, Processes
from groundswell.trainer.loop.precision import bfloat16_is_faster
from groundswell.trainer.loop.progress import Display

_COMPILED_SHAPES = 16
"""PyTorch caches compiled bfloat16 products by shape. Its default limit lets the cache grow to a
gigabyte, and hardly two steps have the same shapes."""
_CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


@dataclass
class Run:
    """One training run."""

    config: TrainConfig
    device: torch.device
    rng: np.random.Generator
    progress: Progress
    writer: SummaryWriter | None
    """TensorBoard's; None in all processes but the first."""
    epochs: dict[str, int] = field(default_factory=dict)
    """By stage: how many epochs its kept state was trained for."""
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By stage, of each epoch: `loss`, `ndcg` of validation, `seconds` since the run started."""
    started: float = field(default_factory=time.monotonic)
    seed: int = 0
    processes: Processes = ALONE
    negatives: torch.Generator | None = None
    """In several processes: a generator of one seed, so that all draw the same negatives. None:
    they are drawn from the global one."""

    @contextmanager
    def stage(self, name: str, epochs: int) -> Iterator["Stage"]:
        """Show the progress of a stage."""
        task = self.progress.add_task(name, total=epochs, note="")
        yield Stage(self, name, task)
        self.progress.update(task, completed=epochs)

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        """Show that work goes on which has no epochs."""
        with self.stage(name, 1):
            yield

    @cached_property
    def uses_bfloat16(self) -> bool:
        """True where training multiplies bfloat16 numbers."""
        if self.config.precision == "auto":
            return self.processes.from_first(lambda: bfloat16_is_faster(self.device))
        return self.config.precision == "bfloat16"

    def state(self) -> dict[str, Any]:
        """What `resume` needs, as JSON can hold it."""
        return {
            "epochs": self.epochs,
            "curves": self.curves,
            "seconds": time.monotonic() - self.started,
            "uses_bfloat16": self.uses_bfloat16,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on with the curves and the clock of an interrupted run."""
        self.epochs, self.curves = state["epochs"], state["curves"]
        self.started = time.monotonic() - state["seconds"]
        # It was measured, and a new measurement may differ.
        self.uses_bfloat16 = state["uses_bfloat16"]

    def log_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve of TensorBoard."""
        if self.writer is not None:
            self.writer.add_scalar(name, value, step)


@dataclass
class Stage:
    """Reports one stage's epochs."""

    run: Run
    name: str
    task: TaskID

    def report(self, epoch: int, loss: float, ndcg: float | None) -> None:
        """Show an epoch, from 1. Raises TrainError when the loss is not finite."""
        if not np.isfinite(loss):
            rate = self.run.config.learning_rate
            raise TrainError(
                f"the loss of the {self.name} stage became {loss} in epoch {epoch}; a lower "
                f"learning_rate may help (--set learning_rate={rate / 10:g}, it was {rate:g})"
            )
        note = f"loss {loss:.3f}"
        curve = self.run.curves.setdefault(self.name, {"loss": [], "ndcg": [], "seconds": []})
        curve["loss"].append(round(loss, 4))
        curve["seconds"].append(round(time.monotonic() - self.run.started, 2))
        self.run.log_scalar(f"{self.name}/loss", loss, epoch)
        if ndcg is not None:
            curve["ndcg"].append(round(ndcg, 5))
            note += f", validation NDCG@10 {ndcg:.4f}"
            self.run.log_scalar(f"{self.name}/validation_ndcg@10", ndcg, epoch)
        self.run.progress.update(self.task, advance=1, note=note)


@contextmanager
def open_run(
    config: TrainConfig,
    device: str,
    seed: int,
    logs: Path,
    console: Console,
    processes: Processes = ALONE,
) -> Iterator[Run]:
    """Set the seeds, open the progress display and the TensorBoard log.

    Of several processes only the first one shows or logs anything.
    """
    for name in _CAPACITIES:
        # PyTorch reads them at its first bfloat16 product, which comes later.
        os.environ.setdefault(name, str(_COMPILED_SHAPES))
    torch.manual_seed(seed)
    columns = (
        TextColumn("{task.description:>16}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    is_shown = processes.is_first
    with (
        Display(*columns, console=console, name="training", disable=not is_shown) as progress,
        SummaryWriter(str(logs)) if is_shown else nullcontext() as writer,
    ):
        yield Run(
            config,
            torch.device(device),
            np.random.default_rng(seed),
            progress,
            writer,
            seed=seed,
            processes=processes,
            negatives=torch.Generator().manual_seed(seed) if processes.size > 1 else None,
        )


def to_tensor(
    values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", device: torch.device
) -> Tensor:
    """Return an array as a tensor on a device."""
    return torch.from_numpy(values).to(device)
