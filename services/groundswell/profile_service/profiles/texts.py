"""Encodes free texts in batches beside the event loop, and keeps vectors by content."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.serving.batching import MicroBatcher
from groundswell.serving.bounded import ARRAY_BYTES, BoundedCache

_TEXTS_PER_BATCH = 32
_TEXT_BYTES = 200
"""The bytes of a kept text besides the values of its vector: its hash and the objects around."""


class EncodedText(NamedTuple):
    """The text encoder's result for one text."""

    vector: NDArray[np.float32]
    """[t]"""
    unknown_share: float


class TextTimes(NamedTuple):
    """What a call for texts waited for, in seconds; 0 where every vector was kept."""

    queue_s: float
    """Until the first of its texts was read."""
    tokenise_s: float
    """Of the batches that held its texts, those of other calls included."""
    inference_s: float


class EncodedTexts(NamedTuple):
    """The answer to one call."""

    texts: list[EncodedText]
    times: TextTimes


@dataclass(frozen=True, slots=True, eq=False)
class _BatchTimes:
    began_s: float
    tokenise_s: float
    inference_s: float


class TextEncodings:
    """The text encoder of one bundle. A text that was read lately is not read again.

    At most `max_bytes` of vectors are kept.
    """

    def __init__(
        self, encoder: OnnxTextEncoder, *, max_queue: int, max_queue_bytes: int, max_bytes: int
    ) -> None:
        self._encoder = encoder
        self._kept: BoundedCache[bytes, EncodedText] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_bytes, size=_kept_bytes
        )
        self._batcher: MicroBatcher[str, tuple[EncodedText, _BatchTimes]] = MicroBatcher(
            self._read,
            name="text",
            max_batch=_TEXTS_PER_BATCH,
            max_queue=max_queue,
            max_bytes=max_queue_bytes,
            size=getsizeof,
        )

    async def close(self) -> None:
        """Finish what was submitted and free the thread."""
        await self._batcher.close()

    async def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts, in their order. A single text has priority over several.

        Raises ResourceExhausted (OVERLOADED).
        """
        asked_s = time.perf_counter()
        keys = {text: hashlib.sha256(text.encode()).digest() for text in texts}
        found = {text: self._kept.get(key) for text, key in keys.items()}
        new = [text for text, kept in found.items() if kept is None]
        if len(new) == 1:
            read = [await self._batcher.submit(new[0])]
        else:
            read = await self._batcher.submit_all(new) if new else []
        for text, (encoded, _) in zip(new, read, strict=True):
            found[text] = encoded
            self._kept.put(keys[text], encoded)
        batches = {batch for _, batch in read}
        times = TextTimes(
            min((batch.began_s for batch in batches), default=asked_s) - asked_s,
            sum(batch.tokenise_s for batch in batches),
            sum(batch.inference_s for batch in batches),
        )
        return EncodedTexts([one for text in texts if (one := found[text])], times)

    def _read(self, texts: list[str]) -> list[tuple[EncodedText, _BatchTimes]]:
        began_s = time.perf_counter()
        tokens = self._encoder.tokenise(texts)
        tokenised_s = time.perf_counter()
        vectors = self._encoder.encode_tokens(tokens)
        batch = _BatchTimes(began_s, tokenised_s - began_s, time.perf_counter() - tokenised_s)
        # Copies: a row that is kept would keep the array of all rows.
        return [
            (EncodedText(vector.copy(), self._encoder.unknown_share(one)), batch)
            for vector, one in zip(vectors, tokens, strict=True)
        ]


def _kept_bytes(_key: bytes, encoded: EncodedText) -> int:
    return _TEXT_BYTES + ARRAY_BYTES + encoded.vector.nbytes
