"""Runs the text encoder in a thread of its own."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.profile_service.worker.text_backends.backend import WorkerEncoder
from groundswell.serving.telemetry import unexpected
from groundswell.serving.tracing import stage

_log = structlog.get_logger(__name__)

_FEWEST_TEXTS, _MOST_TEXTS = 256, 65_536
_SLICE_S = 0.25
"""The encoder gets more texts at once until they take this long; a cancelled call ends after them.
"""
_PROBE = "a text that every encoder can read"


class EncoderThread:
    """A text encoder whose calls do not block the event loop."""

    def __init__(self, encoder: WorkerEncoder) -> None:
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self._num_texts = _FEWEST_TEXTS

    async def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors [n, t] of n texts. Raises what the encoder raises, and ValueError."""
        loop = asyncio.get_running_loop()
        vectors = np.empty((len(texts), self._encoder.dimension), np.float32)
        start = 0
        while start < len(texts):
            part, begun_s = texts[start : start + self._num_texts], loop.time()
            with stage("encode"):
                encoded = await loop.run_in_executor(self._thread, self._encoder.encode, part)
            vectors[start : start + len(part)] = encoded
            start += len(part)
            if len(part) == self._num_texts and loop.time() - begun_s < _SLICE_S:
                self._num_texts = min(2 * self._num_texts, _MOST_TEXTS)
        if not np.isfinite(vectors).all():
            raise ValueError("the text encoder gave a value that is not finite")
        return vectors

    async def works(self) -> bool:
        """Whether the encoder can encode a simple text. If so, an error came from its text."""
        try:
            await self.encode([_PROBE])
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not work
            _log.error("encoder_failed", **unexpected(error))
            return False
        return True

    async def close(self) -> None:
        """Free the thread when its current call has ended."""
        await asyncio.to_thread(self._thread.shutdown)
