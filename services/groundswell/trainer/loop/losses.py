"""Next-item cross-entropy over all items, or over shared negatives when there are many."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

FULL_UP_TO = 20_000
"""Catalogues of at most so many items get the full softmax."""


def is_large(num_items: int) -> bool:
    """Say whether a catalogue has so many items that no step may touch all of them."""
    return num_items > FULL_UP_TO


def sample_negatives(
    num_items: int, count: int, generator: torch.Generator | None = None
) -> Tensor | None:
    """Return uniform negatives that a step shares; None for a small catalogue: all items then."""
    if not is_large(num_items):
        return None
    return torch.randint(num_items, (count,), generator=generator)


def next_item_loss(
    users_nd: Tensor,
    targets_n: Tensor,
    items_Nd: Tensor,
    weights_n: Tensor | None = None,
    *,
    bfloat16: bool = False,
) -> Tensor:
    """Cross-entropy over all N items, the mean over n users by weight; targets are rows of items.

    With `bfloat16` the three products are made of bfloat16 numbers; the softmax is float32.
    """
    n = len(targets_n)
    weights_n = torch.ones(n, device=users_nd.device) if weights_n is None else weights_n
    shares_n = weights_n / weights_n.sum()
    # PyTorch's `apply` has no types.
    loss: Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
        users_nd, items_Nd, targets_n, shares_n, bfloat16
    )
    return loss


def sampled_loss(
    users_nd: Tensor,
    targets_nd: Tensor,
    negatives_Kd: Tensor,
    is_target_nK: Tensor,
    weights_n: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each target against K shared uniform negatives.

    Uniform negatives need no correction; where one is the target itself it does not count.
    """
    positive_n1 = (users_nd * targets_nd).sum(-1, keepdim=True)
    negative_nK = (users_nd @ negatives_Kd.T).masked_fill(is_target_nK, -torch.inf)
    losses_n = torch.cat([positive_n1, negative_nK], 1).logsumexp(1) - positive_n1.squeeze(1)
    return losses_n.mean() if weights_n is None else (losses_n * weights_n).sum() / weights_n.sum()


class _FullSoftmax(torch.autograd.Function):
    """A linear layer and its cross-entropy in one, after Wijmans et al. 2024 (Cut Your Losses).

    The forward pass computes the gradients too, so that no logits are stored or computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users_nd: Tensor,
        items_Nd: Tensor,
        targets_n: Tensor,
        shares_n: Tensor,
        bfloat16: bool,
    ) -> Tensor:
        kind = torch.bfloat16 if bfloat16 else torch.float32
        users, items = users_nd.to(kind), items_Nd.to(kind)
        softmax_nN = F.softmax(users @ items.T, -1, dtype=torch.float32)
        chosen_n1 = softmax_nN.gather(1, targets_n[:, None])
        loss = -(chosen_n1.squeeze(1).clamp_min(torch.finfo(torch.float32).tiny).log() * shares_n)
        softmax_nN.scatter_add_(1, targets_n[:, None], -torch.ones_like(chosen_n1))
        error_nN = softmax_nN.to(kind)
        shares_n1 = shares_n[:, None]
        users_grad = (error_nN @ items).float() * shares_n1 if ctx.needs_input_grad[0] else None
        items_grad = None
        if ctx.needs_input_grad[1]:
            items_grad = (error_nN.T @ (users_nd * shares_n1).to(kind)).float()
        ctx.gradients = (users_grad, items_grad)
        return loss.sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        users, items = (None if g is None else g * outer[0] for g in ctx.gradients)
        return users, items, None, None, None
