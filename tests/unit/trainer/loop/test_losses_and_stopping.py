"""Losses against their definition, when to stop, and what a run reports."""

import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing import event_accumulator
from torch import nn
from torch.nn import functional as F

from groundswell.trainer.config import TrainConfig
from groundswell.trainer.errors import TrainError
from groundswell.trainer.loop.early_stopping import EarlyStopping
from groundswell.trainer.loop.losses import (
    FULL_UP_TO,
    next_item_loss,
    sample_negatives,
    sampled_loss,
)
from groundswell.trainer.loop.run import open_run


def test_only_a_large_catalogue_gets_sampled_negatives() -> None:
    assert sample_negatives(FULL_UP_TO, 5) is None
    drawn = sample_negatives(FULL_UP_TO + 1, 500)
    assert drawn is not None
    assert drawn.shape == (500,)
    assert int(drawn.max()) > FULL_UP_TO // 2


def test_with_every_other_item_as_a_negative_the_sampled_loss_is_the_full_one() -> None:
    torch.manual_seed(0)
    users, items, targets = torch.randn(4, 3), torch.randn(6, 3), torch.tensor([0, 5, 2, 2])
    every = torch.arange(6)
    sampled = sampled_loss(users, items[targets], items, targets[:, None] == every[None, :])
    torch.testing.assert_close(sampled, next_item_loss(users, targets, items))


def test_the_loss_and_its_gradients_are_those_of_torchs_cross_entropy() -> None:
    torch.manual_seed(0)
    users, items = torch.randn(5, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    targets, weights = torch.tensor([0, 6, 3, 3, 1]), torch.tensor([1.0, 0.2, 0.0, 3.0, 1.0])
    losses = F.cross_entropy(users @ items.T, targets, reduction="none")
    due = (losses * weights).sum() / weights.sum()
    got = next_item_loss(users, targets, items, weights)
    torch.testing.assert_close(got, due)
    expected = torch.autograd.grad(due * 3, (users, items))
    torch.testing.assert_close(torch.autograd.grad(got * 3, (users, items)), expected)
    halves = next_item_loss(users, targets, items, weights, bfloat16=True)
    torch.testing.assert_close(halves, due, rtol=0.05, atol=0.05)
    for half, full in zip(torch.autograd.grad(halves, (users, items)), expected, strict=True):
        torch.testing.assert_close(half, full / 3, rtol=0.05, atol=0.05)


def test_items_that_stand_still_need_no_gradient() -> None:
    users, items = torch.randn(5, 4, requires_grad=True), torch.randn(7, 4)
    targets = torch.arange(5)
    next_item_loss(users, targets, items).backward()
    due = torch.autograd.grad(F.cross_entropy(users @ items.T, targets), users)[0]
    torch.testing.assert_close(users.grad, due)


def test_training_stops_after_as_many_worse_epochs_as_patience_says() -> None:
    weights = nn.Parameter(torch.zeros(1), requires_grad=False)
    stopping = EarlyStopping(2, nn.ParameterDict({"weights": weights}))
    for epoch, (ndcg, over) in enumerate([(0.1, False), (0.3, False), (0.3, False), (0.2, True)]):
        weights.fill_(epoch + 1)
        stopping.update(epoch + 1, ndcg)
        assert stopping.should_stop == over
    assert (stopping.best_epoch, stopping.best_score) == (2, 0.3)
    stopping.restore_best()
    assert weights.item() == 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(loss: float, tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    with (
        open_run(TrainConfig(), "cpu", 0, tmp_path, quiet) as run,
        run.stage("session", 3) as stage,
    ):
        stage.report(1, 2.5, None)
        with pytest.raises(TrainError, match=f"session stage became {loss} in epoch 2"):
            stage.report(2, loss, 0.1)


def test_what_a_run_reports_is_read_by_tensorboard(tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    with (
        open_run(TrainConfig(), "cpu", 0, tmp_path, quiet) as run,
        run.stage("session", 2) as stage,
    ):
        stage.report(1, 2.5, 0.1)
        stage.report(2, 1.5, 0.2)
    log = event_accumulator.EventAccumulator(str(tmp_path))
    log.Reload()
    assert [e.value for e in log.Scalars("session/loss")] == [2.5, 1.5]
    assert [e.step for e in log.Scalars("session/validation_ndcg@10")] == [1, 2]
