"""The texts that a text encoder is pre-trained on: the catalogue's, and chunks of training."""

from collections.abc import Sequence

import numpy as np

from groundswell.features.text import chunk_text
from groundswell.trainer.inputs.training_log import TrainingLog


def pretraining_texts(
    items: Sequence[str], log: TrainingLog, chunk_length: int, seed: int
) -> list[str]:
    """Return each item's text once, and at most as many chunks of the training histories.

    `items` are the texts of all items [N]: a catalogue tells nothing of held-out events.
    """
    own = list(dict.fromkeys(text for text in items if text.strip()))
    begins = log.prepared.offsets[:-1]
    counts = -(-(log.ends - begins) // chunk_length)
    user = np.repeat(np.arange(len(begins)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = begins[user] + number * chunk_length
    last = np.minimum(first + chunk_length, log.ends[user])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(np.flatnonzero(last - first > 1))[: len(own)])
    titles, of_event = log.prepared.titles, log.prepared.items
    chunks = (
        chunk_text([titles[item] for item in of_event[begin:end]])
        for begin, end in zip(first[chosen].tolist(), last[chosen].tolist(), strict=True)
    )
    return own + [text for text in chunks if text.strip("; ")]
