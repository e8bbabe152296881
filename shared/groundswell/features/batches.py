"""Texts of many lengths → batches that waste little padding, or none, within a token budget."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[NDArray[np.int64]]:
    """Group the indices of `lengths`, sorted by length, so that longest × count ≤ `max_tokens`.

    A text longer than the budget gets a batch of its own. Raises ValueError for a budget below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    for end in range(1, len(order) + 1):
        full = end < len(order) and lengths[order[end]] * (end + 1 - start) > max_tokens
        if full or end == len(order):
            batches.append(order[start:end])
            start = end
    return batches


def token_packs(lengths: Sequence[int], max_tokens: int) -> list[NDArray[np.int64]]:
    """Group the indices of `lengths`, in their order, so that their sum is ≤ `max_tokens`.

    A text longer than that gets a group of its own. Raises ValueError for a budget below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    packs: list[NDArray[np.int64]] = []
    start = total = 0
    for end, length in enumerate(lengths):
        if end > start and total + length > max_tokens:
            packs.append(np.arange(start, end))
            start, total = end, 0
        total += length
    if start < len(lengths):
        packs.append(np.arange(start, len(lengths)))
    return packs
