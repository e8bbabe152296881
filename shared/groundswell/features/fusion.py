"""The score of an item for a user, the same formula for serving, evaluation and training.

score = (α ∘ u_s)·v + ᾱ·n_s + ((1 − α) ∘ u_l)·v + (1 − ᾱ)·n_l

u_s and u_l are the short-term and the long-term vector of the user, v is the vector of the item,
n_s and n_l are the neighbour scores of the item by either, α is the fusion weight of each dimension
and ᾱ its mean. Only operators are used, so NumPy arrays and PyTorch tensors with gradients pass.

Shapes: d dimensions, N items; all leading dimensions broadcast.
"""

from typing import Any, TypeVar

Array = TypeVar("Array")
"""NumPy arrays, PyTorch tensors, or numbers."""


def fuse(alpha: Any, short: Array, long: Array) -> tuple[Array, Array]:
    """Return α ∘ short and (1 − α) ∘ long, whose sum is the fused value.

    Vectors [..., d] take α [..., d]; scores take its mean, see `mean_weight`.
    """
    weight: Any = alpha
    return weight * short, (1 - weight) * long


def mean_weight(alpha: Array) -> Array:
    """Return ᾱ [..., 1] of α [..., d]: the weight of neighbour scores."""
    weight: Any = alpha
    mean: Array = weight.mean(-1)[..., None]
    return mean


def fused(alpha: Any, short: Array, long: Array) -> Array:
    """Return α ∘ short + (1 − α) ∘ long; see `fuse`."""
    parts: Any = fuse(alpha, short, long)
    total: Array = parts[0] + parts[1]
    return total


def scores(
    alpha: Array,
    vectors: tuple[Array, Array],
    items: Array,
    neighbour_scores: tuple[Array, Array],
) -> Array:
    """Return the scores [..., N] of items.

    `vectors` are u_s and u_l [..., d], `items` [N, d] are the vectors of items, `neighbour_scores`
    are n_s and n_l [..., N].
    """
    products: Any = fused(alpha, *vectors)
    columns: Any = items
    found: Array = products @ columns.T + fused(mean_weight(alpha), *neighbour_scores)
    return found
