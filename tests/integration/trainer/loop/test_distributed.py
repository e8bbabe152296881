"""`groundswell train` in two processes: one bundle, and none where one of them fails."""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from groundswell.artifacts.store import load_bundle
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepared import load_prepared
from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop.checkpoint import FILE
from groundswell.trainer.train import train
from tests.support.text_encoders import with_export
from tests.support.torchrun import TIMEOUT_S, TwoProcesses
from tests.support.worlds import prepared_world

SETTINGS = (
    *("dimension=16", "width=16", "num_blocks=1", "window_length=12", "chunk_length=4"),
    *("max_epochs=3", "patience=60", "precision=float32", "gate=constant"),
    *("text_encoder.pretrain=mlm", "text_encoder.layers=1", "text_encoder.width=32"),
    *("text_encoder.steps=5", "max_tokens=32"),
    *(
        "dropout=0",
        "id_dropout=0",
        "event_dropout=0",
        "history_dropout=0",
        "chunk_dropout=0",
        "text_dropout=0",
    ),
)
ROUNDING = 1e-6
"""Two processes add the same numbers in another order than one does."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_export(prepared_world(tmp_path_factory.mktemp("world")))


def in_two(data: Path, bundles: Path, *settings: str) -> TwoProcesses:
    program = ("-m", "groundswell.trainer", "train", "--data", str(data), "--bundles", str(bundles))
    changes = [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    return TwoProcesses(*program, *changes, folder=bundles.parent)


def in_one(data: Path, bundles: Path, *settings: str, resume: bool = False) -> str:
    config, console = parse_config((*SETTINGS, *settings)), Console(quiet=True)
    return train(load_prepared(data), bundles, config, "cpu", 0, console, resume=resume)


def published(bundles: Path) -> set[str]:
    """What lies in a folder of bundles, but for what an ended run may leave."""
    return {path.name for path in bundles.iterdir() if not path.name.startswith(".")}


def test_two_processes_publish_the_one_bundle_of_one(data: Path, tmp_path: Path) -> None:
    with in_two(data, tmp_path / "two") as two:
        assert two.wait(TIMEOUT_S) == 0, two.err()
    (bundle_id,) = two.log().split()
    assert published(tmp_path / "two") == {bundle_id, "current"}
    assert not list((tmp_path / "two").glob(".*")), "neither a workspace nor a checkpoint is left"
    assert two.err().count("item texts") == 1, "one process alone shows what it does"
    in_one(data, tmp_path / "one")
    due, found = load_bundle(tmp_path / "one"), load_bundle(tmp_path / "two")
    assert [b.manifest.training["num_processes"] for b in (due, found)] == [1, 2]
    for stage in ("views", "profile"):
        one, other = (b.manifest.training["curves"][stage] for b in (due, found))
        assert one["loss"] == other["loss"]
        assert one["ndcg"] == other["ndcg"]
    np.testing.assert_allclose(found.item_vectors, due.item_vectors, rtol=0, atol=ROUNDING)
    for metric, value in due.manifest.metrics.items():
        assert found.manifest.metrics[metric] == pytest.approx(value, abs=1e-4), metric


def block(file: Path) -> None:
    """Take the place of what is written now and then."""
    while not file.is_dir():
        with suppress(FileExistsError):
            file.mkdir()


def test_a_process_that_fails_tells_why_and_ends_the_run_which_one_process_cannot_resume(
    data: Path, tmp_path: Path
) -> None:
    bundles, longer = tmp_path / "bundles", "max_epochs=2000"
    with in_two(data, bundles, longer) as two:
        deadline = time.monotonic() + TIMEOUT_S
        while not (bundles / FILE).exists():
            assert two.popen.poll() is None, two.err()
            assert time.monotonic() < deadline, two.err()
            time.sleep(0.01)
        processes = [two.process_of(rank) for rank in range(2)]
        block((bundles / FILE).with_suffix(".building"))
        assert two.wait(TIMEOUT_S) != 0
    assert f"groundswell: {bundles}/.checkpoint.building cannot be written" in two.err()
    assert not any(Path(f"/proc/{process}").exists() for process in processes)
    assert published(bundles) == set()
    assert two.log() == ""
    with pytest.raises(TrainError, match=r"resumed: the number of processes was 2, is 1$"):
        in_one(data, bundles, longer, resume=True)
