"""Validation against a ranking by hand, and which of two results is clearly better."""

import math

import numpy as np
import pytest
import torch

from groundswell.trainer.dataset.prepared import TEST, VALIDATION
from groundswell.trainer.ranking.validation import Validation, is_clearly_better
from tests.unit.trainer.memory import prepared_of


def test_validation_ranks_among_what_is_new_to_the_user_and_known_to_the_log() -> None:
    # Item 9 has no event; user 1 had its target before; user 2 has no past.
    prepared = prepared_of(
        [[0, 1, 2, 3], [4, 5, 4], [6, 7], [8, 8]],
        held_out=[(VALIDATION, TEST), (VALIDATION,), (VALIDATION, TEST)],
        num_items=10,
    )
    validation = Validation(prepared)
    assert validation.events.tolist() == [2]
    items = torch.eye(10)
    # Items 0 and 1 were seen and 9 cannot be recommended; 7 ranks before the target, item 2.
    scores = torch.tensor([[9.0, 8.0, 5.0, 1.0, 1.0, 1.0, 1.0, 6.0, 1.0, 7.0]])
    assert validation.ndcg(scores, items) == pytest.approx(1 / math.log2(3))
    tied = torch.full((1, 10), 5.0)
    assert validation.ndcg(tied, items) == pytest.approx(1 / math.log2(8))


def test_a_log_without_validation_targets_says_so() -> None:
    assert not Validation(prepared_of([[1, 2, 3]]))


def test_what_is_clearly_better_is_so_by_standard_errors() -> None:
    # On average 1.5 standard errors above nothing.
    gains_n = np.tile([-1.0, 1.0], 50)
    gains_n += 1.5 * gains_n.std(ddof=1) / len(gains_n) ** 0.5
    nothing_n = np.zeros_like(gains_n)
    assert is_clearly_better(gains_n, nothing_n)
    assert not is_clearly_better(gains_n, nothing_n, 2.0)
    assert not is_clearly_better(nothing_n, gains_n)
    assert not is_clearly_better(gains_n[:1], nothing_n[:1])
