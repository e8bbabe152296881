"""The items of a step: whom training never sees does not compete, few or many."""

import pytest
import torch

from groundswell.models.item_head import ItemHead
from groundswell.trainer.encoders.item_batch import ItemSampler
from groundswell.trainer.loop import losses as loss

ITEMS, DIMENSION, TEXT = 30, 6, 4


@pytest.fixture
def head() -> ItemHead:
    torch.manual_seed(0)
    return ItemHead(ITEMS, DIMENSION, TEXT)


def sampler(head: ItemHead, seen: torch.Tensor, *, id_dropout: float = 0.0) -> ItemSampler:
    torch.manual_seed(1)
    return ItemSampler(
        head,
        torch.randn(ITEMS, TEXT),
        seen,
        num_negatives=500,
        id_dropout=id_dropout,
        bfloat16=False,
    )


def every_third(seen_everywhere: bool) -> torch.Tensor:
    return torch.ones(ITEMS, dtype=torch.bool) if seen_everywhere else torch.arange(ITEMS) % 3 != 0


WINDOW, TARGETS = torch.tensor([[1, 2, 4], [5, 29, 7]]), torch.tensor([2, 8, 28, 8])


@pytest.mark.parametrize("large", [False, True])
def test_a_step_has_the_vectors_of_its_window_and_its_targets(
    head: ItemHead, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    drawn = sampler(head, every_third(False))
    every = head.place(drawn._texts_It[torch.arange(ITEMS)], torch.arange(ITEMS))
    step = drawn.items(WINDOW, TARGETS)
    torch.testing.assert_close(step.window_vectors, every[WINDOW])
    torch.testing.assert_close(step.vectors_Kd[step.targets_n], every[TARGETS])
    assert (step.negatives_m is not None) == large


@pytest.mark.parametrize("large", [False, True])
def test_items_that_training_never_sees_are_no_candidates(
    head: ItemHead, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    seen = every_third(False)
    users, weights = torch.randn(4, DIMENSION), torch.ones(4)
    sampler(head, seen).items(WINDOW, TARGETS).loss(users, weights).backward()
    assert head.ids.weight.grad is not None
    moved = head.ids.weight.grad.abs().sum(1) > 0
    assert moved[seen].all()
    assert not moved[~seen].any()


def test_the_loss_of_a_small_catalogue_is_the_softmax_over_what_is_seen(head: ItemHead) -> None:
    seen = every_third(False)
    drawn = sampler(head, seen)
    users, weights = torch.randn(4, DIMENSION), torch.tensor([1.0, 2.0, 0.5, 1.0])
    scores = users @ head.place(drawn._texts_It[torch.arange(ITEMS)], torch.arange(ITEMS)).T
    scores[:, ~seen] = -torch.inf
    losses = torch.nn.functional.cross_entropy(scores, TARGETS, reduction="none")
    due = (losses * weights).sum() / weights.sum()
    torch.testing.assert_close(drawn.items(WINDOW, TARGETS).loss(users, weights), due)


def test_an_item_loses_its_id_as_often_as_was_said(head: ItemHead) -> None:
    torch.nn.init.normal_(head.ids.weight)
    drawn = sampler(head, every_third(True), id_dropout=0.3)
    texts_alone = head.place(drawn._texts_It[torch.arange(ITEMS)], torch.full((ITEMS,), -1))
    lost = torch.stack(
        [(drawn.items(WINDOW, TARGETS).vectors_Kd == texts_alone).all(1) for _ in range(300)]
    )
    assert float(lost.float().mean()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("large", [False, True])
def test_items_that_stand_still_are_taken_as_they_are(
    head: ItemHead, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(loss, "FULL_UP_TO", 10)
    frozen = torch.randn(ITEMS, DIMENSION)
    step = sampler(head, every_third(False)).items(WINDOW, TARGETS, frozen)
    assert torch.equal(step.window_vectors, frozen[WINDOW])
    users = torch.randn(4, DIMENSION, requires_grad=True)
    step.loss(users, torch.ones(4)).backward()
    assert users.grad is not None
    assert head.ids.weight.grad is None
