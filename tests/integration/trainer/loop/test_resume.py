"""`groundswell train`, killed in the middle of it, goes on with --resume to the same bundle."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors import safe_open

from groundswell.artifacts.bundle import MODEL_CARD
from groundswell.artifacts.store import load_bundle
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepared import TEXT_VECTORS, load_prepared
from groundswell.trainer.errors import TrainError
from groundswell.trainer.inputs.histories import cut_chunks
from groundswell.trainer.loop.checkpoint import FILE
from groundswell.trainer.loop.profiling import TRACE
from groundswell.trainer.train import train
from tests.support.cli import COMMAND, groundswell
from tests.support.text_encoders import with_export
from tests.support.worlds import prepared_world

TIMEOUT_S = 120.0
SETTINGS = (
    *("dimension=16", "width=16", "num_blocks=1", "window_length=12", "chunk_length=4"),
    # The joint phase lasts long enough to be killed in time.
    *("max_epochs=8", "patience=8", "precision=float32", "gate=constant"),
)


def command(data: Path, bundles: Path) -> list[str]:
    changes = [f"--set={setting}" for setting in SETTINGS]
    return ["train", "--data", str(data), "--bundles", str(bundles), *changes]


def train_here(data: Path, bundles: Path, seed: int = 0, *, resume: bool = False) -> str:
    """Train in this process, which has loaded all that it takes."""
    console = Console(quiet=True)
    config = parse_config(SETTINGS)
    return train(load_prepared(data), bundles, config, "cpu", seed, console, resume=resume)


def kill_after_an_epoch(arguments: Sequence[str], bundles: Path) -> None:
    """SIGKILL a training as soon as it has left a checkpoint."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while not (bundles / FILE).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        status = process.wait()
    assert status == -signal.SIGKILL


def test_sigterm_ends_a_training_with_a_line_that_names_the_way_on(tmp_path: Path) -> None:
    data, bundles = with_export(prepared_world(tmp_path)), tmp_path / "bundles"
    process = subprocess.Popen(
        [*COMMAND, *command(data, bundles)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + TIMEOUT_S
    while not (bundles / FILE).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        "groundswell: interrupted; the same command with --resume goes on after the last epoch "
        "that was done"
    )
    assert not list(bundles.glob(".building-*"))


def num_encoded(data: Path) -> int:
    """How many texts the cache knows."""
    parts = (data / TEXT_VECTORS).glob("*/*.npz")
    return sum(len(np.load(part)["hashes"]) for part in parts)


def test_a_killed_training_resumes_to_the_bundle_of_one_that_was_not(tmp_path: Path) -> None:
    data = with_export(prepared_world(tmp_path))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    prepared = load_prepared(data)
    kill_after_an_epoch(command(data, killed), killed)
    with safe_open(killed / FILE, "pt") as checkpoint:
        assert '"stage": "views"' in checkpoint.metadata()["state"]
    num_items = len(set(prepared.texts))
    assert num_encoded(data) == num_items, "the joint phase needs no text of a history"

    left = (killed / FILE).read_bytes()
    with pytest.raises(TrainError, match=r"cannot be resumed: seed was 0, is 1$"):
        train_here(data, killed, seed=1, resume=True)
    other = prepared_world(tmp_path / "other", seed=1)
    with pytest.raises(TrainError, match=r"cannot be resumed: the prepared log was [^;]*$"):
        train_here(other, killed, resume=True)
    assert not (other / TEXT_VECTORS).exists(), "it is refused before anything is done"
    assert (killed / FILE).read_bytes() == left

    traced = ("--profile", str(tmp_path / "profile"))
    resumed = groundswell(*command(data, killed), "--resume", *traced, timeout=TIMEOUT_S)
    assert resumed.returncode == 0, resumed.stderr
    assert "Self CPU" in resumed.stderr, "the table of operations"
    trace = json.loads((tmp_path / "profile" / TRACE).read_text())
    assert "_FullSoftmax" in {event.get("name") for event in trace["traceEvents"]}
    assert not (killed / FILE).exists()
    num_chunks = len(set(cut_chunks(prepared, 4).texts))
    assert num_encoded(data) == num_items + num_chunks

    train_here(data, whole)
    one, two = load_bundle(killed).manifest, load_bundle(whole).manifest
    for manifest in (one, two):
        # It tells the time.
        del manifest.files[MODEL_CARD]
    assert one.files == two.files
    assert one.metrics == two.metrics
    assert one.fusion == two.fusion
    assert one.training["epochs"] == two.training["epochs"]
    for stage, curve in one.training["curves"].items():
        assert curve["loss"] == two.training["curves"][stage]["loss"], stage

    with pytest.raises(TrainError, match="nothing to resume"):
        train_here(data, killed, resume=True)
