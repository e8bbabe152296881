"""Large catalogues: rows that a step does not read cost nothing, and their mean is the same."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from groundswell.models.item_head import ItemHead
from groundswell.trainer.dataset.prepared import VALIDATION
from groundswell.trainer.encoders.large_catalogue import HalfTexts
from groundswell.trainer.loop import losses as loss
from groundswell.trainer.loop.optimizer import Optimizer
from groundswell.trainer.ranking import validation
from groundswell.trainer.ranking.validation import Part, Ranking, Validation
from tests.unit.trainer.memory import prepared_of, random_log

ROWS, EMA = 12, 0.9


class Tabled(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ids = nn.Embedding(ROWS, 3, sparse=sparse)
        self.out = nn.Linear(3, 1)


def steps(sparse: bool) -> tuple[Tabled, AveragedModel, Optimizer]:
    model = Tabled(sparse)
    ema = AveragedModel(model)
    return model, ema, Optimizer(model, ema, learning_rate=0.1, warmup_steps=3, ema=EMA)


def loss_of(model: Tabled, step: int) -> torch.Tensor:
    rows = torch.tensor([step % 5, 7, step % 2])
    loss: torch.Tensor = (model.out(model.ids(rows)) - step).square().mean()
    return loss


def test_a_step_moves_the_rows_that_it_reads_and_no_others() -> None:
    model, ema, optimizer = steps(sparse=True)
    before = model.ids.weight.detach().clone()
    for step in range(4):
        optimizer.step(loss_of(model, step))
    optimizer.settle()
    read = torch.tensor([0, 1, 2, 3, 7])
    stood = torch.ones(ROWS, dtype=torch.bool).index_fill(0, read, False)
    assert torch.equal(model.ids.weight[stood], before[stood])
    assert torch.equal(ema.module.get_parameter("ids.weight")[stood], before[stood])
    assert (model.ids.weight[read] != before[read]).all()


def test_the_mean_of_rows_is_that_of_all_steps_whenever_it_is_read() -> None:
    model, ema, optimizer = steps(sparse=True)
    due = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    for step in range(30):
        optimizer.step(loss_of(model, step if step < 20 else 0))
        due.update_parameters(model)
        if step in (0, 13, 29):
            optimizer.settle()
            torch.testing.assert_close(ema.module.state_dict(), due.module.state_dict())


def test_a_small_catalogue_is_moved_as_by_adam_alone() -> None:
    model, ema, optimizer = steps(sparse=False)
    other = Tabled(sparse=False)
    due = AveragedModel(other, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    adam = torch.optim.Adam(other.parameters(), lr=0.1, betas=(0.9, 0.98))
    for step in range(10):
        optimizer.step(loss_of(model, step))
        adam.param_groups[0]["lr"] = 0.1 * min(1.0, (step + 1) / 3)
        adam.zero_grad()
        loss_of(other, step).backward()
        adam.step()
        due.update_parameters(other)
    optimizer.settle()
    for got, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(got, expected)
    for got, expected in zip(ema.module.parameters(), due.module.parameters(), strict=True):
        assert torch.equal(got, expected)


def test_half_texts_are_read_as_the_head_reads_texts() -> None:
    torch.manual_seed(0)
    texts = torch.randn(9, 4)
    head = ItemHead(9, 3, 4)
    head.fit_texts(texts)
    rows = torch.tensor([[3, 8], [0, 3]])
    due = head.normalised(texts)[rows]
    torch.testing.assert_close(HalfTexts(texts, head)[rows], due, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("with_added", [False, True])
def test_ranks_over_blocks_of_items_are_those_over_all(
    monkeypatch: pytest.MonkeyPatch, with_added: bool
) -> None:
    prepared = random_log(users=80, items=50)
    ranking = Ranking(prepared, np.flatnonzero(prepared.target == VALIDATION))
    torch.manual_seed(0)
    users, items = torch.randn(len(ranking.events), 5), torch.randn(prepared.num_items, 5)
    added = None
    if with_added:
        shape = (len(users), prepared.num_items)
        added = sp.random_array(shape, density=0.3, rng=np.random.default_rng(0)).tocsr() * 3
    whole = ranking.ranks(users, items, added)
    monkeypatch.setattr(validation, "_BLOCK_ITEMS", 7)
    monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    assert len(np.unique(whole)) > 10
    assert (ranking.ranks(users, items, added) == whole).all()


@pytest.mark.parametrize("block", [7, 100])
def test_mixtures_of_parts_rank_as_their_sums_do(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(validation, "_BLOCK_ITEMS", block)
    monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    prepared = random_log(users=80, items=50)
    ranking = Ranking(prepared, np.flatnonzero(prepared.target == VALIDATION))
    torch.manual_seed(0)
    n, num_items = len(ranking.events), prepared.num_items
    short, long, items = torch.randn(n, 5), torch.randn(n, 5), torch.randn(num_items, 5)
    drawn = sp.random_array((n, num_items), density=0.3, rng=np.random.default_rng(0))
    added = drawn.tocsr().astype(np.float32)
    parts = [Part(short, added), Part(long), Part(None, added)]
    shares = np.array([[1.0, 0.0, 0.0], [0.3, 0.7, 2.0]])
    found = ranking.mixed_ranks(parts, shares, items)
    assert (found[:, 0] == ranking.ranks(short, items, added)).all()
    mixed = ranking.ranks(0.3 * short + 0.7 * long, items, added * 2.3)
    assert np.abs(found[:, 1] - mixed).max() <= 1
    assert (found[:, 1] != mixed).sum() < 3


def test_of_a_large_catalogue_fewer_targets_are_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_of([[0, 1, 2]] * 30, held_out=[(VALIDATION,)] * 30)
    assert len(Validation(prepared).events) == 30
    monkeypatch.setattr(validation, "_MOST_SCORES", 12)
    assert len(Validation(prepared).events) == 30
    monkeypatch.setattr(loss, "FULL_UP_TO", 2)
    assert len(Validation(prepared).events) == 4
