"""What is held out changes nothing of what training learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import TRAIN, Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.encoders.training import new_encoders, train_jointly, train_profile
from groundswell.trainer.inputs.histories import cut_chunks
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.checkpoint import Checkpoints
from groundswell.trainer.loop.run import open_run
from groundswell.trainer.ranking.validation import Validation
from tests.support.worlds import synthetic_world

CONFIG = TrainConfig(
    dimension=8, width=8, num_blocks=1, num_heads=1, window_length=6, chunk_length=4, epochs=2
)
TEXT_DIMENSION = 12


@pytest.fixture(scope="module", params=[Split.LEAVE_ONE_OUT, Split.TEMPORAL, Split.NEXT_SESSION])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    files = synthetic_world(folder, seed=3, users=40, items=40)
    prepare(files.events, files.items, folder / "prepared", split=request.param)
    return load_prepared(folder / "prepared")


def with_other(prepared: Prepared, events: np.ndarray) -> Prepared:
    """The same log with other items, actions and sessions at `events` (a mask)."""
    items = np.where(events, (prepared.items + 7) % prepared.num_items, prepared.items)
    actions = np.where(events, 5, prepared.actions)
    starts = np.where(events, ~prepared.starts, prepared.starts)
    return replace(
        prepared,
        items=items.astype(np.int32),
        actions=actions.astype(np.int8),
        starts=starts.astype(bool),
    )


def learned(prepared: Prepared, folder: Path) -> dict[str, Tensor]:
    """Train both encoders for a fixed number of epochs, without validation; all their weights."""
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(prepared.num_items, TEXT_DIMENSION)).astype(np.float32)
    chunks = cut_chunks(prepared, CONFIG.chunk_length)
    # Any deterministic vector of a chunk's text will do.
    vectors = np.stack(
        [
            np.random.default_rng(list(text.encode())).normal(size=TEXT_DIMENSION)
            for text in chunks.texts
        ]
    ).astype(np.float32)
    nothing_held_out = replace(prepared, target=np.zeros_like(prepared.target))
    with open_run(CONFIG, "cpu", 1, folder, Console(quiet=True)) as run:
        training = new_encoders(TrainingLog(prepared), texts, run)
        validation, checkpoints = Validation(nothing_held_out), Checkpoints(folder, run)
        train_jointly(training, validation, CONFIG.epochs, checkpoints)
        encoders = train_profile(training, validation, chunks, vectors, checkpoints)
    return encoders.model.state_dict()


def test_held_out_events_change_no_weight(world: Prepared, tmp_path: Path) -> None:
    held_out = world.split_of != TRAIN
    planted = with_other(world, held_out)
    assert (planted.items != world.items).sum() == held_out.sum() > 0
    first, second = (learned(p, tmp_path) for p in (world, planted))
    changed = [name for name in first if not torch.equal(first[name], second[name])]
    assert changed == []


def test_a_training_event_does_change_the_weights(world: Prepared, tmp_path: Path) -> None:
    """The test above could not fail if nothing of the log reached the weights."""
    event = np.zeros(len(world.items), bool)
    event[0] = world.split_of[0] == TRAIN
    assert event.any()
    first, second = (learned(p, tmp_path) for p in (world, with_other(world, event)))
    assert any(not torch.equal(first[name], second[name]) for name in first)
