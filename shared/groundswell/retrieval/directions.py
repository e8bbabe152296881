"""Gives the directions of item vectors, which cosines compare: without the popularity bias."""

import numpy as np
from numpy.typing import NDArray


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors [k, d] with length 1 and 0 as the last value; zeros where there is nothing."""
    content = vectors.copy()
    content[:, -1] = 0.0
    lengths = np.linalg.norm(content, axis=1, keepdims=True)
    np.divide(content, lengths, out=content, where=lengths > 0)
    return content
