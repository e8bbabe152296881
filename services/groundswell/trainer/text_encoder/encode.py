"""Encodes what training reads as text: the items, and later the chunks of histories."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import TEXT_ENCODER
from groundswell.artifacts.manifest import TextSpec
from groundswell.artifacts.text_cache import Encoder, TextCache
from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.features.text import TEMPLATE_VERSION
from groundswell.models.text_encoder import load_torch_encoder
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.run import Run
from groundswell.trainer.text_encoder.own_encoder import own_encoder
from groundswell.trainer.text_encoder.resolve import EncoderFolder, put_text_encoder

_EXPORTS = "exported"
_TRAINED = "trained"
_HASH_LENGTH = 12


class Texts:
    """The text encoder of a run's bundle; it encodes each text once for ever."""

    def __init__(
        self, items: Sequence[str], log: TrainingLog, cache: Path, bundle_folder: Path, run: Run
    ) -> None:
        """Put the encoder into the bundle's folder.

        It is trained on `items` [N] and `log` before, where the settings say so. What `cache` holds
        already is neither trained nor encoded again. On the CPU the exported model runs, which is
        the faster one; on another device torch does. Of several processes only the first one has
        the encoder, and sends its vectors to the others. Raises DataError when it cannot be had.
        """
        self._run, self._cache, self._folder = run, cache, bundle_folder / TEXT_ENCODER
        self._encoder: Encoder
        self.spec = run.processes.from_first(lambda: self._open(items, log))

    def encode(self, texts: Sequence[str], name: str) -> NDArray[np.float32]:
        """Return [n, t] vectors, in the order of `texts`; the progress is shown under `name`."""
        return self._run.processes.array_from_first(lambda: self._encode(texts, name))

    def _open(self, items: Sequence[str], log: TrainingLog) -> TextSpec:
        run, most = self._run, self._run.config.max_tokens
        source_folder, source = own_encoder(items, log, self._cache / _TRAINED, run)
        put_text_encoder(source_folder, self._folder, most, self._cache / _EXPORTS)
        self._encoder = _encoder(self._folder, run)
        return TextSpec(
            source=source,
            fingerprint=fingerprint_of(EncoderFolder(self._folder, source), most),
            dimension=self._encoder.dimension,
            max_tokens=most,
        )

    def _encode(self, texts: Sequence[str], name: str) -> NDArray[np.float32]:
        progress, total = self._run.progress, len(texts)
        task = progress.add_task(name, total=total, note=f"{total:,} texts")
        # What it knows is held no longer: of many items it is as large as all of training.
        cache = TextCache(self._cache, self._encoder, self.spec.fingerprint)
        vectors = cache.encode(texts, lambda count: progress.update(task, advance=count))
        progress.update(task, completed=total)
        return vectors


def _encoder(folder: Path, run: Run) -> Encoder:
    if run.device.type == "cpu":
        return OnnxTextEncoder(folder, run.config.max_tokens, os.cpu_count() or 1)
    return load_torch_encoder(folder, run.config.max_tokens, str(run.device))


def fingerprint_of(encoder: EncoderFolder, max_tokens: int) -> str:
    """Name an encoder by what decides its vectors: weights, precision, length, templates."""
    with (encoder.folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_LENGTH]
    return f"{encoder.source}@{digest}:fp32:{max_tokens}:{TEMPLATE_VERSION}"
