"""A run that was interrupted goes on from its last epoch as if nothing had happened."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop import checkpoint
from groundswell.trainer.loop import losses as loss
from groundswell.trainer.loop.checkpoint import FILE
from groundswell.trainer.ranking.validation import Validation
from tests.support.encoders import SETTINGS, InterruptionError, Outcome, train_encoders
from tests.support.worlds import synthetic_world


class EndingAfter(Validation):
    """Interrupts the run instead of judging once more."""

    def __init__(self, prepared: Prepared, judged: int) -> None:
        super().__init__(prepared)
        self._left = judged

    def ndcg(self, users_nd: Tensor, items_Nd: Tensor) -> float:
        if self._left == 0:
            raise InterruptionError
        self._left -= 1
        return super().ndcg(users_nd, items_Nd)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    files = synthetic_world(folder, users=40, items=40, categories=4)
    prepare(files.events, files.items, folder / "prepared")
    return load_prepared(folder / "prepared")


def train(
    prepared: Prepared,
    folder: Path,
    judged: int = 1_000,
    *,
    resume: bool = False,
    settings: Sequence[str] = SETTINGS,
) -> Outcome:
    """Train both encoders, until validation was asked `judged` times."""
    return train_encoders(EndingAfter(prepared, judged), prepared, folder, settings, resume=resume)


@pytest.fixture(scope="module")
def whole(world: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train(world, tmp_path_factory.mktemp("whole"))


# Three epochs of the joint phase are judged, then the profile as it is, then its epochs.
@pytest.mark.parametrize("judged", [1, 2, 3, 5, 6])
def test_a_resumed_run_ends_as_the_whole_one_did(
    world: Prepared, whole: Outcome, tmp_path: Path, judged: int
) -> None:
    assert len(whole.losses["views"]) == 3
    assert len(whole.losses["profile"]) >= 3
    with pytest.raises(InterruptionError):
        train(world, tmp_path, judged)
    resumed = train(world, tmp_path, resume=True)
    different = [
        name
        for name, value in whole.weights.items()
        if not torch.equal(value, resumed.weights[name])
    ]
    assert different == []
    assert resumed.epochs == whole.epochs
    assert resumed.losses == whole.losses
    assert resumed.draws == whole.draws
    times = resumed.seconds["views"] + resumed.seconds["profile"]
    assert times == sorted(times)


@pytest.mark.parametrize("judged", [1, 2, 5])
def test_so_does_one_of_a_large_catalogue_whose_tables_are_moved_by_row(
    monkeypatch: pytest.MonkeyPatch, world: Prepared, whole: Outcome, tmp_path: Path, judged: int
) -> None:
    monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    settings = (*SETTINGS, "negatives=8")
    (tmp_path / "whole").mkdir()
    due = train(world, tmp_path / "whole", settings=settings)
    assert due.losses["views"] != whole.losses["views"]
    with pytest.raises(InterruptionError):
        train(world, tmp_path, judged, settings=settings)
    resumed = train(world, tmp_path, resume=True, settings=settings)
    assert all(torch.equal(due.weights[name], x) for name, x in resumed.weights.items())
    assert resumed.losses == due.losses
    assert resumed.draws == due.draws


def test_a_run_that_was_interrupted_after_its_last_epoch_trains_no_other(
    world: Prepared, tmp_path: Path
) -> None:
    done = train(world, tmp_path)
    resumed = train(world, tmp_path, resume=True)
    assert resumed.losses == done.losses
    assert resumed.draws == done.draws
    assert all(torch.equal(done.weights[name], x) for name, x in resumed.weights.items())


def test_a_run_that_is_interrupted_again_and_again_still_ends_the_same(
    world: Prepared, whole: Outcome, tmp_path: Path
) -> None:
    with pytest.raises(InterruptionError):
        train(world, tmp_path, 1)
    for _ in range(3):
        with pytest.raises(InterruptionError):
            train(world, tmp_path, 1, resume=True)
    resumed = train(world, tmp_path, resume=True)
    assert resumed.losses == whole.losses
    assert all(torch.equal(whole.weights[name], x) for name, x in resumed.weights.items())


def test_another_setting_is_named(world: Prepared, tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        train(world, tmp_path, 1)
    changed = (*SETTINGS, "learning_rate=0.01")
    with pytest.raises(TrainError, match=r"resumed: learning_rate was 0\.002, is 0\.01$"):
        train(world, tmp_path, resume=True, settings=changed)


def test_a_run_afresh_replaces_what_another_left(
    world: Prepared, whole: Outcome, tmp_path: Path
) -> None:
    with pytest.raises(InterruptionError):
        train(world, tmp_path, 2, settings=(*SETTINGS, "learning_rate=0.01"))
    with pytest.raises(InterruptionError):
        train(world, tmp_path, 1)
    resumed = train(world, tmp_path, resume=True)
    assert resumed.losses == whole.losses


def test_without_a_checkpoint_there_is_nothing_to_resume(world: Prepared, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"nothing to resume: .* no interrupted run's checkpoint"):
        train(world, tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["torn", "one bit", "empty", "no tensors"])
def test_a_damaged_checkpoint_is_refused(world: Prepared, tmp_path: Path, damage: str) -> None:
    with pytest.raises(InterruptionError):
        train(world, tmp_path, 1)
    file = tmp_path / FILE
    content = bytearray(file.read_bytes())
    if damage == "torn":
        content = content[: len(content) // 2]
    elif damage == "one bit":
        content[-100] ^= 1
    else:
        content = bytearray() if damage == "empty" else bytearray(b"\x02\0\0\0\0\0\0\0{}")
    file.write_bytes(content)
    with pytest.raises(TrainError, match=r"checkpoint\.safetensors is damaged, train without"):
        train(world, tmp_path, resume=True)


def test_a_checkpoint_that_has_no_place_is_an_error(world: Prepared, tmp_path: Path) -> None:
    (tmp_path / FILE).with_suffix(".building").mkdir()
    with pytest.raises(TrainError, match=r"checkpoint\.building cannot be written"):
        train(world, tmp_path)


def test_a_full_disk_leaves_no_half_of_a_checkpoint(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_tensors: object, file: Path, _metadata: object) -> None:
        file.write_bytes(b"half a")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(TrainError, match=r"checkpoint\.building cannot be written: .*No space"):
        train(world, tmp_path)
    assert not list(tmp_path.glob(".checkpoint*"))


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(
    world: Prepared, whole: Outcome, tmp_path: Path
) -> None:
    """A run that ended while it wrote leaves a part of a file under another name."""
    with pytest.raises(InterruptionError):
        train(world, tmp_path, 2)
    (tmp_path / FILE).with_suffix(".building").write_bytes(b"half a")
    resumed = train(world, tmp_path, resume=True)
    assert resumed.losses == whole.losses
    assert not (tmp_path / FILE).with_suffix(".building").exists()
