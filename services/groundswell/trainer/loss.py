"""Next-item cross-entropy over all items, or over shared negatives when there are many."""

import torch
from torch import Tensor
from torch.nn import functional as F

FULL_UP_TO = 20_000
"""Catalogues of at most so many items get the full softmax."""


def sample_negatives(num_items: int, count: int) -> Tensor | None:
    """Return uniform negatives that a step shares; None for a small catalogue: all items then."""
    if num_items <= FULL_UP_TO:
        return None
    return torch.randint(num_items, (count,))


def next_item_loss(users_nd: Tensor, targets_n: Tensor, items_Nd: Tensor) -> Tensor:
    """Cross-entropy over all N items; targets are rows of `items_Nd`."""
    return F.cross_entropy(users_nd @ items_Nd.T, targets_n)


def sampled_loss(
    users_nd: Tensor, targets_nd: Tensor, negatives_Kd: Tensor, is_target_nK: Tensor
) -> Tensor:
    """Cross-entropy of each target against K shared uniform negatives.

    Uniform negatives need no correction; where one is the target itself it does not count.
    """
    positive_n1 = (users_nd * targets_nd).sum(-1, keepdim=True)
    negative_nK = (users_nd @ negatives_Kd.T).masked_fill(is_target_nK, -torch.inf)
    logits = torch.cat([positive_n1, negative_nK], 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
