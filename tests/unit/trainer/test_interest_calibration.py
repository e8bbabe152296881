"""Calibration of the interest head mends what held-out events show; few of them move it little."""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from groundswell.models.interest_head import InterestHead
from groundswell.trainer.evaluation.classification import calibration, expected_calibration_error
from groundswell.trainer.interest_stage import calibrate

DIMENSION, CATEGORIES = 9, 4


def sure_of_one_category() -> tuple[InterestHead, Tensor, Tensor]:
    """A head that is right but for one category, of which it is far too sure, with its users."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = InterestHead(DIMENSION, CATEGORIES)
    with torch.no_grad():
        head.linear.weight.mul_(8)
    users_nd = torch.randn(8_000, DIMENSION, generator=generator)
    with torch.no_grad():
        categories_n = torch.multinomial(head(users_nd), 1, generator=generator).squeeze(1)
        head.linear.weight[0] *= 3
        head.linear.bias[0] += 1
    return head, users_nd, categories_n


def error(head: InterestHead, users_nd: Tensor, categories_n: Tensor) -> float:
    with torch.inference_mode():
        confidence, predicted = head(users_nd).max(-1)
    right = (predicted == categories_n).numpy()
    return expected_calibration_error(calibration(confidence.numpy(), right))


def likelihood(head: InterestHead, users_nd: Tensor, categories_n: Tensor) -> float:
    with torch.inference_mode():
        return -F.nll_loss(head(users_nd).log(), categories_n).item()


def test_a_category_of_its_own_error_is_mended_on_events_that_calibration_did_not_see() -> None:
    head, users_nd, categories_n = sure_of_one_category()
    seen, unseen = slice(0, 4_000), slice(4_000, None)
    assert error(head, users_nd[unseen], categories_n[unseen]) > 0.1
    calibrate(head, users_nd[seen], categories_n[seen])
    assert error(head, users_nd[unseen], categories_n[unseen]) < 0.03


def test_few_events_move_it_little_and_towards_the_truth() -> None:
    head, users_nd, categories_n = sure_of_one_category()
    before = copy.deepcopy(head)
    calibrate(head, users_nd[:20], categories_n[:20])
    change = head.linear.weight / before.linear.weight
    assert change.sub(1).abs().max() < 0.7
    assert likelihood(head, users_nd, categories_n) > likelihood(before, users_nd, categories_n)


def test_events_without_a_category_count_for_nothing() -> None:
    head, users_nd, categories_n = sure_of_one_category()
    before = copy.deepcopy(head.state_dict())
    calibrate(head, users_nd, torch.full_like(categories_n, -1))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    mixed = torch.where(torch.arange(8_000) < 4_000, categories_n, -1)
    other = copy.deepcopy(head)
    calibrate(head, users_nd, mixed)
    calibrate(other, users_nd[:4_000], categories_n[:4_000])
    torch.testing.assert_close(head.state_dict(), other.state_dict())
