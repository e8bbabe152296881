"""Encodes what training reads as text: items and chunks, each text once for ever."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import TEXT_ENCODER
from groundswell.artifacts.text_cache import Encoder, TextCache
from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.features.text import TEMPLATE_VERSION
from groundswell.models.text_encoder import load_torch_encoder
from groundswell.trainer.loss import is_large
from groundswell.trainer.run import Run
from groundswell.trainer.sampling import TrainingLog
from groundswell.trainer.text_source import EncoderFolder, put_text_encoder
from groundswell.trainer.text_training.own_encoder import own_encoder

_EXPORTS = "exported"
_TRAINED = "trained"
_HASH_LENGTH = 12


class EncodedTexts(NamedTuple):
    """Text vectors, and the encoder that made them."""

    items: NDArray[np.floating]
    """[N, t] float32; float16 of a large catalogue."""
    chunks: NDArray[np.float32]
    """[M, t]"""
    source: str
    fingerprint: str


def encode_texts(
    items: Sequence[str],
    chunks: Sequence[str],
    log: TrainingLog,
    cache: Path,
    bundle_folder: Path,
    run: Run,
) -> EncodedTexts:
    """Put the text encoder into the bundle's folder and encode all texts with it.

    The encoder is trained on `log` before, where the settings say so. What `cache` holds already is
    neither trained nor encoded again. On the CPU the exported model runs, which is
    the faster one; on another device torch does. Raises DataError when the encoder cannot be had.
    """
    config = run.config
    source_folder, source = own_encoder(items, log, cache / _TRAINED, run)
    target = bundle_folder / TEXT_ENCODER
    put_text_encoder(source_folder, target, config.max_tokens, cache / _EXPORTS)
    fingerprint = fingerprint_of(EncoderFolder(target, source), config.max_tokens)
    encoder = _encoder(target, run)
    texts = TextCache(cache, encoder, fingerprint)
    total = len(items) + len(chunks)
    task = run.progress.add_task("texts", total=total, note=f"{total:,} texts")

    def advance(count: int) -> None:
        run.progress.update(task, advance=count)

    item_vectors: NDArray[np.floating] = texts.encode(items, advance)
    if is_large(len(items)):
        item_vectors = item_vectors.astype(np.float16)
    chunk_vectors = texts.encode(chunks, advance)
    run.progress.update(task, completed=total)
    return EncodedTexts(item_vectors, chunk_vectors, source, fingerprint)


def _encoder(folder: Path, run: Run) -> Encoder:
    if run.device.type == "cpu":
        return OnnxTextEncoder(folder, run.config.max_tokens, os.cpu_count() or 1)
    return load_torch_encoder(folder, run.config.max_tokens, str(run.device))


def fingerprint_of(encoder: EncoderFolder, max_tokens: int) -> str:
    """Name an encoder by what decides its vectors: weights, precision, length, templates."""
    with (encoder.folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_LENGTH]
    return f"{encoder.source}@{digest}:fp32:{max_tokens}:{TEMPLATE_VERSION}"
