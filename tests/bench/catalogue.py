"""The lines "catalogue.…": what training takes on a catalogue of a million items.

A synthetic log: each user stays with a few of many groups of items, some items are wanted far more
than others. No text is encoded: the cache is filled beforehand with random vectors of the default
encoder's shape, which take the memory that real ones take.
"""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.bench.harness import Line

ITEMS, USERS, EVENTS = 1_000_000, 100_000, 10
_GROUP = 1_000
_LIMIT_GB = 6.0
_EPOCHS = 2
_SETTINGS = (f"epochs={_EPOCHS}", "patience=1")
"""Memory and the time of an epoch need no more; random texts have nothing to teach."""


def write_log(folder: Path, num_items: int, num_users: int, num_events: int) -> tuple[Path, Path]:
    """Write events and items of a synthetic log as Parquet, always the same."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(num_users), num_events)
    groups = rng.integers(max(num_items // _GROUP, 1), size=(num_users, 3))
    group = groups[user, rng.integers(3, size=len(user))]
    # Within a group the first items are wanted most.
    place = (rng.random(len(user)) ** 3 * min(_GROUP, num_items)).astype(np.int64)
    events, items = folder / "events.parquet", folder / "items.parquet"
    pl.DataFrame(
        {
            "user_id": pl.Series(user).cast(pl.String),
            "item_id": pl.Series(group * _GROUP + place).cast(pl.String),
            "action": ["view"] * len(user),
            "timestamp": 1_700_000_000 + np.arange(len(user)) % num_events * 600 + user,
        }
    ).write_parquet(events)
    names = pl.Series(np.arange(num_items)).cast(pl.String)
    pl.DataFrame({"item_id": names, "title": "Item " + names}).write_parquet(items)
    return events, items


def measure(folder: Path) -> list[Line]:
    """Prepare a log, fill the cache of its texts, and train in a process of its own."""
    roots = ("shared", "services", "clients/python", "protos/gen", ".")
    path = os.pathsep.join(str(Path(root).resolve()) for root in roots)
    for step in (["prepare", str(folder)], ["train", str(folder), *_SETTINGS]):
        done = subprocess.run(
            [sys.executable, __file__, *step],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    figures = json.loads(done.stdout.splitlines()[-1])
    return [
        Line(
            "catalogue.train.peak_gb",
            figures["peak_gb"],
            f"GB, {ITEMS:,} items",
            _LIMIT_GB,
            figures["peak_gb"] <= _LIMIT_GB,
        ),
        Line("catalogue.train.epoch_s", figures["epoch_s"], f"s, {USERS * EVENTS:,} events"),
        Line("catalogue.train.total_s", figures["total_s"], f"s, {_EPOCHS} epochs"),
    ]


class _RandomEncoder:
    """Stands for an encoder: vectors of its shape, without reading the texts."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._rng = np.random.default_rng(0)

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        del progress
        return self._rng.standard_normal((len(texts), self.dimension), np.float32)


def _prepare(folder: Path) -> None:

    from groundswell.artifacts.text_cache import TextCache
    from groundswell.trainer.config import TrainConfig
    from groundswell.trainer.dataset.prepare import prepare
    from groundswell.trainer.dataset.prepared import TEXT_VECTORS, load_prepared
    from groundswell.trainer.dataset.splits import Split
    from groundswell.trainer.text_encoder.encode import fingerprint_of
    from groundswell.trainer.text_encoder.resolve import resolve_text_encoder

    events, items = write_log(folder, ITEMS, USERS, EVENTS)
    out = folder / "prepared"
    prepare(events, items, out, split=Split.LEAVE_ONE_OUT, order_only=False)
    config = TrainConfig()
    encoder = resolve_text_encoder(config.text_encoder, config.max_tokens)
    dimension = json.loads((encoder.folder / "config.json").read_text())["hidden_size"]
    fingerprint = fingerprint_of(encoder, config.max_tokens)
    cache = TextCache(out / TEXT_VECTORS, _RandomEncoder(dimension), fingerprint)
    cache.encode(load_prepared(out).texts)


def _train(folder: Path, settings: list[str]) -> None:
    from rich.console import Console

    from groundswell.artifacts.store import load_bundle
    from groundswell.trainer.config import parse_config
    from groundswell.trainer.dataset.prepared import load_prepared
    from groundswell.trainer.train import train

    started = time.monotonic()
    prepared = load_prepared(folder / "prepared")
    console = Console(stderr=True)
    train(prepared, folder / "bundles", parse_config(settings), "cpu", 0, console)
    total_s = time.monotonic() - started
    # Of this process's own life: what `ru_maxrss` says includes the one that started it.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    peak_kb = int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = load_bundle(folder / "bundles").manifest.training["curves"]["views"]["seconds"]
    epoch_s = float(np.diff(seconds).mean())
    print(json.dumps({"peak_gb": peak_kb * 1024 / 1e9, "epoch_s": epoch_s, "total_s": total_s}))


if __name__ == "__main__":
    step, place, *given = sys.argv[1:]
    if step == "prepare":
        _prepare(Path(place))
    else:
        _train(Path(place), given)
