"""Measures text backends on a bundle: how fast each is, and what its precision changes.

`python -m groundswell.profile_service.worker.text_backends.trials` runs it as a process of its own,
so that a worker keeps neither what a backend loaded nor its failures.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.artifacts.text_sample import read_text_sample
from groundswell.profile_service.worker.text_backends.backend import Machine, WorkerEncoder
from groundswell.profile_service.worker.text_backends.registry import BACKENDS, load_exact

_TOP = 10
_PASSES = 2


class Trial(NamedTuple):
    """The result of trying one backend."""

    backend: str
    recall: float
    """recall@10 from chunk vectors to items, where fp32 ranks the items; 0 when it failed."""
    texts_per_s: float
    """Chunks of histories a second; 0 when it failed."""
    problem: str = ""
    """Why it failed."""

    def __str__(self) -> str:
        """Return it as a line of the log."""
        if self.problem:
            return f"{self.backend} failed: {self.problem}"
        return f"{self.backend} has recall {self.recall:.3f}, at {self.texts_per_s:.0f} texts/s"


def try_backends(bundle: Bundle, names: Sequence[str], machine: Machine) -> list[Trial]:
    """Try each backend on the bundle's sample. Raises ValueError for a bundle without a sample."""
    sample = read_text_sample(bundle.path)
    if sample is None or not sample.texts:
        raise ValueError(f"the bundle {bundle.id} has no sample of its items' texts")
    exact, chunks = load_exact(bundle, machine), sample.chunks(bundle.manifest.chunk_length)
    items = exact.encode(sample.texts)
    due = nearest(exact.encode(chunks), items)
    trials = []
    for name in names:
        try:
            vectors, took_s = _timed(BACKENDS[name].load(bundle, machine), chunks)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it is not used
            trials.append(Trial(name, 0.0, 0.0, f"{type(error).__name__}: {error}"))
        else:
            found = nearest(vectors, items)
            trials.append(Trial(name, recall(found, due), len(chunks) / took_s))
    return trials


def nearest(chunks_nt: NDArray[np.float32], items_mt: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return [n, k] the rows of the items that are most similar to each chunk.

    k is 10, and at most a tenth of the items: all items would be found in any order.
    """
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (chunks_nt, items_mt)]
    top = max(1, min(_TOP, len(items_mt) // 10))
    return np.argsort(-(units[0] @ units[1].T), axis=1, kind="stable")[:, :top]


def recall(found_nk: NDArray[np.int64], due_nk: NDArray[np.int64]) -> float:
    """Return the share of the due rows that were found, 0 to 1."""
    shares = [len({*a} & {*b}) / len(b) for a, b in zip(found_nk, due_nk, strict=True)]
    return float(np.mean(shares))


def _timed(encoder: WorkerEncoder, texts: Sequence[str]) -> tuple[NDArray[np.float32], float]:
    """Return the vectors, and the seconds of the fastest of some passes after one to warm up."""
    vectors, took_s = encoder.encode(texts), float("inf")
    for _ in range(_PASSES):
        begun = time.perf_counter()
        encoder.encode(texts)
        took_s = min(took_s, time.perf_counter() - begun)
    return vectors, took_s


def _main(path: str, device: str, threads: str, *names: str) -> None:
    trials = try_backends(load_bundle(Path(path)), names, Machine(device, int(threads)))
    sys.stdout.write(json.dumps(trials) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
