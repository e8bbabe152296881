"""Chooses items to keep out of training, to measure how well their text alone places them."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_HASH_BYTES = 8


def cold_items(item_ids: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose about `share` of N items: [N], True for the cold ones.

    A hash of (seed, item id) decides on each item, whatever else is in the catalogue. Raises
    ValueError unless 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of cold items must be at least 0 and below 1, not {share}")
    bound = int(share * 256**_HASH_BYTES)
    return np.array([_hash(seed, item_id) < bound for item_id in item_ids], dtype=bool)


def _hash(seed: int, item_id: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{item_id}".encode(), digest_size=_HASH_BYTES)
    return int.from_bytes(digest.digest())
