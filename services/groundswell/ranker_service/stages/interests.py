"""Interest stage: the probability of each category for a fused user vector."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel


def interests_of(
    head: OnnxModel | None, users: Sequence[NDArray[np.float32] | None]
) -> list[NDArray[np.float32] | None]:
    """Return probabilities [C] for each user vector [d]; None for None, and without a head.

    `head` is the bundle's interest head: vectors [B, d] → probabilities [B, C].
    """
    known = [user for user in users if user is not None]
    if head is None or not known:
        return [None] * len(users)
    probabilities = iter(head.run(vectors=np.stack(known)))
    return [None if user is None else next(probabilities) for user in users]
