"""profile.encode: the bundle's text encoder against plain transformers in fp32, and its recall."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from groundswell.artifacts import bundle as files
from groundswell.artifacts.store import load_bundle
from groundswell.features.text import chunk_text, item_text
from tests.bench.harness import Line
from tests.bench.world import world

_NUM_CHUNKS = 64
_NUM_ITEMS = 400
_CHUNK_LENGTH = 16
_PASSES = 3
_PLAIN_BATCH = 32
_TOP = 10
_SEED = 11


class _Plain:
    """What one writes first: batches in the order of the input, padded to the longest, fp32."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        torch.set_num_threads(1)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        self._max_tokens = max_tokens

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Return [n, t] mean-pooled vectors."""
        parts = []
        for start in range(0, len(texts), _PLAIN_BATCH):
            batch = self._tokenizer(
                texts[start : start + _PLAIN_BATCH],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            )
            hidden = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            parts.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(parts)


def measure(folder: Path) -> list[Line]:  # noqa: ARG001 - every area is called alike
    """Measure texts per second on one thread, both sides in turns, and what the speed costs."""
    bundle = load_bundle(world().bundles)
    ours = bundle.text_encoder(threads=1)
    plain = _Plain(bundle.path / files.TEXT_ENCODER, bundle.manifest.text.max_tokens)
    vectors: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    lines = []
    for kind, name, texts in _texts():
        ours_s, plain_s = 0.0, 0.0
        for _ in range(_PASSES):
            ours_vectors, took_s = _timed(ours.encode, texts)
            ours_s += took_s
            plain_vectors, took_s = _timed(plain.encode, texts)
            plain_s += took_s
        vectors[kind] = ours_vectors, plain_vectors
        unit = f"× plain transformers' {kind}/s, fp32, 1 thread"
        lines.append(Line(name, plain_s / ours_s, unit))
        lines.append(Line(f"{name}.rate", _PASSES * len(texts) / ours_s, f"{kind}/s"))
    # A chunk's vector is stored in half precision.
    served = vectors["chunks"][0].astype(np.float16).astype(np.float32)
    found = _nearest(served, vectors["items"][0])
    due = _nearest(vectors["chunks"][1], vectors["items"][1])
    recall = float(np.mean([len(set(a) & set(b)) / _TOP for a, b in zip(found, due, strict=True)]))
    lines.append(
        Line("profile.encode.recall", recall, "recall@10 from chunk to items against fp32")
    )
    return lines


def _texts() -> list[tuple[str, str, list[str]]]:
    """Return kind, name and texts: chunks of events with the catalogue, and the catalogue."""
    rng = random.Random(_SEED)
    items = world().items[:_NUM_ITEMS]
    titles = [title for _, title, _ in items]
    chunks = [chunk_text(rng.choices(titles, k=_CHUNK_LENGTH)) for _ in range(_NUM_CHUNKS)]
    texts = [item_text(title, categories) for _, title, categories in items]
    return [("chunks", "profile.encode", chunks), ("items", "profile.encode.items", texts)]


def _timed(
    encode: Callable[[list[str]], NDArray[np.float32]], texts: list[str]
) -> tuple[NDArray[np.float32], float]:
    started = time.perf_counter()
    vectors = encode(texts)
    return vectors, time.perf_counter() - started


def _nearest(chunks: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return [n, 10] the rows of the items that are most similar to each chunk."""
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (chunks, items)]
    return np.argsort(-(units[0] @ units[1].T), axis=1)[:, :_TOP]
