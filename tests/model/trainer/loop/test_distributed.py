"""Two processes train together to what one process reaches."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from groundswell.trainer.dataset.action_weights import parse_action_weights
from groundswell.trainer.dataset.prepare import Options, prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.loop import losses as loss
from groundswell.trainer.ranking.validation import Validation
from tests.support.encoders import Outcome, train_encoders
from tests.support.torchrun import TIMEOUT_S, TwoProcesses
from tests.support.two_processes import (
    KEEPING,
    LARGE,
    LARGE_FROM,
    NEGATIVES,
    RESUMED,
    SMALL,
    WHOLE,
)
from tests.support.worlds import synthetic_world

ROUNDING = 3e-6
"""The sums are the same and their order is not: float32 rounds each step otherwise, some 1e-7."""
KEY_BIASES = ("qkv.bias", "key.bias")
"""A softmax does not see what all keys have in common: the gradient is nothing but rounding, and
Adam takes steps of full length along it."""


class Left(NamedTuple):
    """What one process of a case ended with."""

    weights: dict[str, Tensor]
    losses: dict[str, list[float]]
    draws: list[float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both processes left what all cases ended with."""
    folder = tmp_path_factory.mktemp("two")
    files = synthetic_world(folder, users=40, items=40, categories=4)
    # The shares of a step's windows are not those of its weight.
    options = Options(action_weights=parse_action_weights(["click=3", "purchase=0.5"]))
    prepare(files.events, files.items, folder / "prepared", options=options)
    program = ("-m", "tests.support.two_processes", str(folder))
    with TwoProcesses(*program, folder=folder) as two:
        assert two.wait(TIMEOUT_S) == 0, two.err()
    return folder


@pytest.fixture(scope="module")
def world(folder: Path) -> Prepared:
    return load_prepared(folder / "prepared")


def left(folder: Path, case: str, rank: int) -> Left:
    name = f"{case}-{rank}"
    known = json.loads((folder / f"{name}.json").read_text())
    weights = load_file(folder / f"{name}.safetensors")
    return Left(weights, known["losses"], known["draws"])


def assert_same_but_for_rounding(two: Left, one: Outcome) -> None:
    assert two.losses == one.losses
    for name, value in one.weights.items():
        if not name.endswith(KEY_BIASES):
            torch.testing.assert_close(two.weights[name], value, rtol=0, atol=ROUNDING, msg=name)


def test_two_processes_reach_the_losses_and_weights_of_one(
    folder: Path, world: Prepared, tmp_path: Path
) -> None:
    one = train_encoders(Validation(world), world, tmp_path, KEEPING)
    assert_same_but_for_rounding(left(folder, SMALL, 0), one)


def test_so_they_do_where_the_tables_of_a_large_catalogue_are_moved_by_row(
    monkeypatch: pytest.MonkeyPatch, folder: Path, world: Prepared, tmp_path: Path
) -> None:
    monkeypatch.setattr(loss, "FULL_UP_TO", LARGE_FROM)
    # Two processes draw negatives apart from all else; so must the one that they are held against.
    negatives = torch.Generator().manual_seed(1)
    settings = (*KEEPING, NEGATIVES)
    one = train_encoders(Validation(world), world, tmp_path, settings, negatives=negatives)
    assert_same_but_for_rounding(left(folder, LARGE, 0), one)


@pytest.mark.parametrize("case", [SMALL, LARGE, WHOLE, RESUMED])
def test_both_processes_have_the_same_weights_to_the_bit(folder: Path, case: str) -> None:
    one, two = left(folder, case, 0), left(folder, case, 1)
    assert all(torch.equal(two.weights[name], value) for name, value in one.weights.items())
    assert one.losses == two.losses


def test_what_a_process_drops_is_its_own_and_the_steps_are_shared(folder: Path) -> None:
    one, two = left(folder, WHOLE, 0), left(folder, WHOLE, 1)
    assert one.draws[0] != two.draws[0]
    assert one.draws[1] == two.draws[1]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_of_two_that_was_interrupted_twice_resumes_to_the_same(
    folder: Path, rank: int
) -> None:
    whole, resumed = left(folder, WHOLE, rank), left(folder, RESUMED, rank)
    assert all(torch.equal(resumed.weights[name], value) for name, value in whole.weights.items())
    assert resumed.losses == whole.losses
    assert resumed.draws == whole.draws
