"""Writes and reads a bundle's sample of item texts, on which text backends are compared."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.artifacts.bundle import column_of
from groundswell.features.text import chunk_text

TEXT_SAMPLE = "text_sample.parquet"
_NUM_ITEMS = 512
_NUM_CHUNKS = 64
_SEED = 1


class TextSample(NamedTuple):
    """Some items of a catalogue, no text twice."""

    titles: list[str]
    texts: list[str]
    """What the text encoder reads of each item."""

    def chunks(self, length: int) -> list[str]:
        """Write texts of made-up histories, each of so many items drawn at random."""
        rng = random.Random(_SEED)
        return [chunk_text(rng.choices(self.titles, k=length)) for _ in range(_NUM_CHUNKS)]


def write_text_sample(folder: Path, titles: Sequence[str], texts: Sequence[str]) -> None:
    """Write at most 512 of a catalogue's items into a bundle's folder, the same ones every time."""
    by_text = {text: title for title, text in zip(titles, texts, strict=True) if text}
    some = sorted(by_text)
    some = random.Random(_SEED).sample(some, min(_NUM_ITEMS, len(some)))
    table = pa.table({"title": [by_text[text] for text in some], "text": some})
    pq.write_table(table, folder / TEXT_SAMPLE)


def read_text_sample(folder: Path) -> TextSample | None:
    """Read a bundle's sample; None for a bundle of an earlier release."""
    path = folder / TEXT_SAMPLE
    if not path.exists():
        return None
    return TextSample(column_of(path, "title").to_pylist(), column_of(path, "text").to_pylist())
