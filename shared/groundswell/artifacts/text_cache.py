"""Encoded texts on disk, by the hash of their content: no text is encoded twice."""

import hashlib
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.features.text import content_hash

_log = structlog.get_logger(__name__)
_HASH_BYTES = 32
_PART_TEXTS = 8_192


class Encoder(Protocol):
    """Texts → vectors [n, t]."""

    dimension: int

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Encode texts, in their order."""
        ...


class TextCache:
    """Encodes texts with another encoder, and keeps the vectors in a folder.

    The folder holds parts, each a file of hashes and vectors that appears whole or not at all; all
    of them are held in memory. With `keep` off nothing is added, on disk or in memory. A part that
    cannot be read is left out with a warning: its texts are encoded again.
    """

    def __init__(
        self, folder: Path, encoder: Encoder, fingerprint: str, *, keep: bool = True
    ) -> None:
        self.dimension = encoder.dimension
        self._keep = keep
        self._folder = folder / hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        if keep:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._encoder = encoder
        self._fingerprint = fingerprint
        self._vectors: dict[bytes, NDArray[np.float32]] = {}
        for part in sorted(self._folder.glob("*.npz")):
            self._load(part)

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return [n, t] vectors, in the order of `texts`; `progress` gets how many are done."""
        keys = [content_hash(text, self._fingerprint) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        if progress is not None:
            progress(len(texts) - len(new))
        items = list(new.items())
        fresh: dict[bytes, NDArray[np.float32]] = {}
        for start in range(0, len(items), _PART_TEXTS):
            part = items[start : start + _PART_TEXTS]
            encoded = self._encoder.encode([text for _, text in part], progress)
            fresh.update(zip((key for key, _ in part), encoded, strict=True))
            if self._keep:
                self._store([key for key, _ in part], encoded)
        found = np.zeros((len(keys), self.dimension), np.float32)
        for row, key in enumerate(keys):
            found[row] = self._vectors[key] if key in self._vectors else fresh[key]
        return found

    def _store(self, keys: list[bytes], vectors: NDArray[np.float32]) -> None:
        name = uuid.uuid4().hex
        building = self._folder / f"{name}.building"
        with building.open("wb") as file:
            hashes = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, _HASH_BYTES)
            np.savez(file, hashes=hashes, vectors=vectors)
        building.replace(self._folder / f"{name}.npz")
        self._vectors.update(zip(keys, vectors, strict=True))

    def _load(self, part: Path) -> None:
        try:
            with np.load(part, allow_pickle=False) as stored:
                hashes, vectors = stored["hashes"], stored["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            _log.warning("text_cache_part_unreadable", part=part.name, error=str(error))
            return
        fits = vectors.dtype == np.float32 and vectors.shape == (
            len(hashes),
            self._encoder.dimension,
        )
        if not fits or not np.isfinite(vectors).all():
            _log.warning("text_cache_part_unusable", part=part.name)
            return
        self._vectors.update(zip((row.tobytes() for row in hashes), vectors, strict=True))
