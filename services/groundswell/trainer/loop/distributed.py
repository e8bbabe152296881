"""The processes of a training run that `torchrun` starts, and the values that they exchange.

A run of one process has no process group, and everything here does nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from groundswell.trainer.errors import TrainError

_RANK, _LOCAL_RANK, _SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE"
_TIMEOUT = timedelta(days=7)
"""Longer than anything that the first process does alone. When a process dies its connections break
at once, and torchrun ends the others."""
_CPU = torch.device("cpu")

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """All processes of a run: how many they are, and which of them this is, from 0.

    Every process must make each of these calls, in the same order. Each raises TrainError when
    another process has ended.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True for the process that encodes texts, evaluates, writes files and shows progress."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """Return to all what the first process alone makes: a small value."""
        if self.size == 1:
            return make()
        held = [make() if self.is_first else None]
        with _peers():
            dist.broadcast_object_list(held, device=_CPU)
        # What is broadcast has no type.
        return held[0]  # type: ignore[return-value]

    def array_from_first(self, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return to all the array that the first process alone makes, of any size."""
        if self.size == 1:
            return make()
        made = make() if self.is_first else None
        shape = self.from_first(lambda: () if made is None else made.shape)
        array = np.empty(shape, np.float32) if made is None else made
        with _peers():
            dist.broadcast(torch.from_numpy(array), src=0)
        return array

    def sum(self, values: Tensor) -> None:
        """Replace values by their sum over all processes; it is the same to the bit in each."""
        if self.size > 1:
            with _peers():
                dist.all_reduce(values)

    def total(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        values = torch.tensor(value, dtype=torch.float64)
        self.sum(values)
        return values.item()

    def gather(self, values_n: Tensor) -> list[Tensor]:
        """Return [n, ...] of every process, in their order; each may have another n."""
        if self.size == 1:
            return [values_n]
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(values_n)
        self.sum(counts)
        most = int(counts.max())
        padded = values_n.new_zeros(most, *values_n.shape[1:])
        padded[: len(values_n)] = values_n
        found = [torch.empty_like(padded) for _ in range(self.size)]
        with _peers():
            dist.all_gather(found, padded)
        return [part[:count] for part, count in zip(found, counts.tolist(), strict=True)]


ALONE = Processes()


def is_first_process() -> bool:
    """True in the first process of a run, whether torchrun started it or not."""
    return os.environ.get(_RANK, "0") == "0"


@contextmanager
def open_processes(device: str) -> Iterator[Processes]:
    """Join the other processes that torchrun started, if it did; "cuda" is a GPU of its own then.

    Raises TrainError when there are fewer GPUs than processes.
    """
    size = int(os.environ.get(_SIZE, "1"))
    if size == 1:
        yield ALONE
        return
    if device == "cuda":
        _take_gpu(int(os.environ[_LOCAL_RANK]))
    # gloo sends values on the CPU in any case.
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    yield Processes(dist.get_rank(), size)
    # Only after success: otherwise others may still wait for this one, and this call could block.
    dist.destroy_process_group()


def _take_gpu(number: int) -> None:
    count = torch.cuda.device_count()
    if number >= count:
        raise TrainError(f"every process needs a GPU of its own, and this machine has {count}")
    torch.cuda.set_device(number)


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # gloo and NCCL raise it when a connection breaks.
        raise TrainError(f"another process of this run has ended: {error}") from error
