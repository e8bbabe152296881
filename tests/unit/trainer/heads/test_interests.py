"""Calibration of the interest head mends what held-out events show; few of them move it little."""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from groundswell.models.interest_head import InterestHead
from groundswell.trainer.heads.interests import calibrate
from groundswell.trainer.ranking.classification import calibration, expected_calibration_error

DIMENSION, CATEGORIES = 9, 4


def too_sure() -> tuple[InterestHead, Tensor, Tensor]:
    """A head that is too sure, with its users, of whom a fifth do something else, and what all of
    them do."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = InterestHead(DIMENSION, CATEGORIES)
    users_nd = torch.randn(8_000, DIMENSION, generator=generator)
    with torch.no_grad():
        head.linear.weight.mul_(16)
        categories_n = torch.multinomial(head(users_nd), 1, generator=generator).squeeze(1)
        head.linear.weight.mul_(1.5)
    elsewhere = torch.rand(8_000, generator=generator) < 0.2
    others_n = categories_n[torch.randperm(8_000, generator=generator)]
    return head, users_nd, torch.where(elsewhere, others_n, categories_n)


def error(head: InterestHead, users_nd: Tensor, categories_n: Tensor) -> float:
    with torch.inference_mode():
        confidence, predicted = head(users_nd).max(-1)
    right = (predicted == categories_n).numpy()
    return expected_calibration_error(calibration(confidence.numpy(), right))


def likelihood(head: InterestHead, users_nd: Tensor, categories_n: Tensor) -> float:
    with torch.inference_mode():
        return -F.nll_loss(head(users_nd).log(), categories_n).item()


def test_too_sure_a_head_is_mended_on_events_that_calibration_did_not_see() -> None:
    head, users_nd, categories_n = too_sure()
    seen, unseen = slice(0, 4_000), slice(4_000, None)
    assert error(head, users_nd[unseen], categories_n[unseen]) > 0.1
    calibrate(head, users_nd[seen], categories_n[seen])
    assert 0.1 < float(head.surprise) < 0.3
    assert float(head.temperature) > 1.2
    assert error(head, users_nd[unseen], categories_n[unseen]) < 0.03


def test_few_events_move_it_little_and_towards_the_truth() -> None:
    head, users_nd, categories_n = too_sure()
    before = copy.deepcopy(head)
    calibrate(head, users_nd[:20], categories_n[:20])
    assert 0.7 < float(head.temperature) < 2
    assert 0.01 < float(head.surprise) < 0.2
    assert likelihood(head, users_nd, categories_n) > likelihood(before, users_nd, categories_n)


def test_events_without_a_category_count_for_nothing() -> None:
    head, users_nd, categories_n = too_sure()
    before = copy.deepcopy(head.state_dict())
    calibrate(head, users_nd, torch.full_like(categories_n, -1))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    mixed = torch.where(torch.arange(8_000) < 4_000, categories_n, -1)
    other = copy.deepcopy(head)
    calibrate(head, users_nd, mixed)
    calibrate(other, users_nd[:4_000], categories_n[:4_000])
    torch.testing.assert_close(head.state_dict(), other.state_dict())
