"""The smallest logs train and export; the campaign tries more of them, and every setting."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from groundswell.artifacts.store import BundleStore
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepared import TRAIN, Prepared
from groundswell.trainer.train import train

QUICK = (
    *("dimension=8", "width=8", "window_length=6", "chunk_length=4", "max_chunks=4"),
    *("num_blocks=1", "max_epochs=1", "epochs=1", "precision=float32"),
)


def first_events(prepared: Prepared, most: int) -> Prepared:
    """The log with the first events of each user alone, all of them for training."""
    place = np.arange(len(prepared.items)) - prepared.offsets[prepared.users]
    kept = place < most
    counts = np.minimum(np.diff(prepared.offsets), most)
    arrays = ("items", "actions", "times_us", "weights", "sessions")
    return replace(
        prepared,
        split="none",
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        starts=np.diff(prepared.sessions[kept], prepend=-1) != 0,
        split_of=np.full(int(kept.sum()), TRAIN, prepared.split_of.dtype),
        target=np.zeros(int(kept.sum()), prepared.target.dtype),
        **{name: getattr(prepared, name)[kept] for name in arrays},
    )


def trained(prepared: Prepared, bundles: Path, *settings: str) -> str:
    config = parse_config([*QUICK, *settings])
    return train(prepared, bundles, config, "cpu", 0, Console(quiet=True))


@pytest.mark.parametrize("most", [1, 3])
def test_nobody_has_more_than_a_few_events(world: Prepared, tmp_path: Path, most: int) -> None:
    small = first_events(world, most)
    bundle = BundleStore(tmp_path).load(trained(small, tmp_path, f"window_length={most}"))
    assert np.isfinite(bundle.item_vectors).all()
    assert bundle.manifest.recent_length == most
    assert bundle.interest_head() is not None
