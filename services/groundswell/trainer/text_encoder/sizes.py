"""Chooses the size of a pre-trained BERT, and its steps, by the amount of text."""

from collections.abc import Sequence
from typing import NamedTuple

from groundswell.trainer.config import TrainConfig

BATCH_TEXTS = 64
_PASSES = 5
_STEPS = (200, 4_000)
_VOCABULARY = (2_000, 30_000)
_CHARACTERS_PER_TOKEN = 40
_SHAPES = ((0, 2, 256), (2_000_000, 4, 256), (20_000_000, 6, 384))
"""From so many characters on: layers, width."""


class Sizes(NamedTuple):
    """Of a BERT and its training."""

    layers: int
    width: int
    vocabulary: int
    steps: int


def sizes_for(texts: Sequence[str], config: TrainConfig) -> Sizes:
    """Return the settings, and by the amount of text what they leave open."""
    characters = sum(map(len, texts))
    _, layers, width = max(shape for shape in _SHAPES if shape[0] <= characters)
    passes = _PASSES * len(texts) // BATCH_TEXTS
    return Sizes(
        config.text_encoder_layers or layers,
        config.text_encoder_width or width,
        config.text_encoder_vocabulary or _within(characters // _CHARACTERS_PER_TOKEN, _VOCABULARY),
        config.text_encoder_steps or _within(passes, _STEPS),
    )


def _within(value: int, bounds: tuple[int, int]) -> int:
    low, high = bounds
    return min(max(value, low), high)
