"""The seam between the encoder worker and the libraries that run a text encoder."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.text_cache import Encoder


class WorkerEncoder(Protocol):
    """What the worker needs of a text encoder: an `Encoder` without progress."""

    dimension: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors [n, t] of n texts. It is called in a thread."""
        ...


class TextEncoders(NamedTuple):
    """What a worker encodes with; one encoder may be both."""

    items: WorkerEncoder
    """fp32: its vectors are the items'."""
    chunks: WorkerEncoder
    """For texts of histories: fp32, or of a lower precision that passed the recall test."""


class Machine(NamedTuple):
    """What a backend runs on."""

    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    threads: int = 1


class TextBackend(NamedTuple):
    """One way to run a bundle's text encoder."""

    load: Callable[[Bundle, Machine], Encoder]
    packages: tuple[str, ...] = ()
    """What must be installed, besides what every worker needs."""
    runs_on_gpu: bool = False
    """Whether it runs on `cuda` too."""
