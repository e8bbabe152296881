"""Encodes the newest events of a window into the short-term vector, with one bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.window import (
    WindowTensors,
    session_length,
    session_starts,
    window_tensors,
)
from groundswell.serving.batching import MicroBatcher
from groundswell.serving.telemetry import count
from groundswell.serving.validation import to_timestamp
from groundswell.serving.vectors import pack_int64, pack_uint32, vector_to_proto
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.records import Columns, columns

# A hop to the batcher's thread and back takes half a millisecond, about as long as the model. Work
# in slices (`serving.slices`) holds the event loop for as long as this.
_ON_LOOP_BELOW_S = 0.002


@dataclass(frozen=True)
class EncodedSession:
    """A window of n events, encoded with one bundle."""

    bundle_id: str
    short_vector: NDArray[np.float32]
    """[d] u_s."""
    num_session_events: int
    """The events of the session that the last event belongs to."""
    last_event_us: int | None
    """When the last event happened; None for an empty window."""
    item_nos: NDArray[np.int64]
    """[n] the items, oldest event first."""
    actions: NDArray[np.int64]
    """[n] the numbers of the actions."""
    lineage: str = ""
    """The lineage of the items that the window was read with."""

    @cached_property
    def message(self) -> EncodeSessionResponse:
        """The answer, without what depends on the call. It is made once, and not to be changed."""
        last_us = self.last_event_us
        return EncodeSessionResponse(
            vector=vector_to_proto(self.short_vector, self.bundle_id),
            num_window_events=len(self.item_nos),
            num_session_events=self.num_session_events,
            last_event_time=None if last_us is None else to_timestamp(last_us),
            item_nos=pack_int64(self.item_nos),
            action_masks=pack_uint32(np.left_shift(1, self.actions)),
            lineage=self.lineage,
        )


class EncoderInput(NamedTuple):
    """What the model reads of one window of n events."""

    item_vectors: NDArray[np.float32]
    """[n, d]"""
    tensors: WindowTensors


class SessionEncoder:
    """Encodes windows in batches, on a thread of its own unless a window is alone and cheap.

    It reads the newest `window_length` events. One event more, where it is given, tells whether the
    first of them starts a session.
    """

    def __init__(
        self,
        bundle_id: str,
        model: OnnxModel,
        items: ItemTable,
        *,
        window_length: int,
        use_time: bool,
        max_batch: int,
        max_queue: int,
        max_queue_bytes: int,
    ) -> None:
        self.bundle_id = bundle_id
        self.items = items
        self.window_length = window_length
        self._model = model
        self._use_time = use_time
        self._batcher = MicroBatcher(
            self._run,
            name="session",
            max_batch=max_batch,
            max_queue=max_queue,
            max_bytes=max_queue_bytes,
            size=lambda x: x.item_vectors.nbytes + sum(part.nbytes for part in x.tensors),
            on_loop_below_s=_ON_LOOP_BELOW_S,
        )

    async def encode(self, records: bytes) -> EncodedSession:
        """Encode the records of ordered events; see `encode_events`."""
        return await self.encode_events(columns(records))

    async def encode_events(self, events: Columns) -> EncodedSession:
        """Encode ordered events with the item vectors of this moment.

        An item without a vector is left out of what the model reads. Raises ResourceExhausted
        (OVERLOADED).
        """
        lineage, length = self.items.lineage, self.window_length
        # What a stored window holds at most, so that inline events are read as it is.
        events = Columns(*(column[-length - 1 :] for column in events))
        vectors = self.items.vectors(events.item_nos)
        has_vector: NDArray[np.bool_] = np.any(vectors, axis=1)
        starts = session_starts(events.times_us, events.sessions)[-length:]
        item_nos, actions = events.item_nos[-length:], events.actions[-length:]
        # Not of the event before the window: it only tells whether the first one starts a session.
        if not has_vector[-length:].all():
            num_missing = len(item_nos) - int(has_vector[-length:].sum())
            count("session_events_without_vector", num_missing)
            read, vectors = Columns(*(column[has_vector] for column in events)), vectors[has_vector]
            read_starts = session_starts(read.times_us, read.sessions)[-length:]
        else:
            read, read_starts = events, starts
        tensors = window_tensors(
            read.times_us[-length:], read.actions[-length:], read_starts, use_time=self._use_time
        )
        vector = await self._batcher.submit(EncoderInput(vectors[-length:], tensors))
        return EncodedSession(
            bundle_id=self.bundle_id,
            short_vector=vector.copy(),  # alone: it does not keep its batch in memory
            num_session_events=session_length(starts),
            last_event_us=int(events.times_us[-1]) if len(item_nos) else None,
            item_nos=item_nos,
            actions=actions,
            lineage=lineage,
        )

    async def warm_up(self) -> None:
        """Run the model on an empty window, so that the first call finds it ready."""
        await self.encode(b"")

    async def close(self) -> None:
        """Stop the thread."""
        await self._batcher.close()

    def _run(self, batch: list[EncoderInput]) -> list[NDArray[np.float32]]:
        vectors_Bd = run_session_model(self._model, batch)
        if not np.isfinite(vectors_Bd).all():
            raise ValueError(f"the session model of bundle {self.bundle_id} gave NaN or infinity")
        return list(vectors_Bd)


def run_session_model(model: OnnxModel, batch: Sequence[EncoderInput]) -> NDArray[np.float32]:
    """Pad the windows on the right to the longest, and return [B, d] short-term vectors."""
    if len(batch) == 1 and len(batch[0].item_vectors):
        vectors_Ld, (actions_L, gaps_L, starts_L) = batch[0]
        return model.run(
            item_vectors=vectors_Ld[None],
            actions=actions_L[None],
            gaps=gaps_L[None],
            starts=starts_L[None],
            lengths=np.array([len(actions_L)], np.int64),
        )
    size, d = len(batch), batch[0].item_vectors.shape[1]
    lengths_B = np.array([len(x.tensors.actions) for x in batch], np.int64)
    longest = max(int(lengths_B.max()), 1)
    item_vectors_BLd = np.zeros((size, longest, d), np.float32)
    actions_BL = np.zeros((size, longest), np.int64)
    gaps_BL = np.zeros((size, longest), np.float32)
    starts_BL = np.zeros((size, longest), np.float32)
    for row, (vectors, tensors) in enumerate(batch):
        n = lengths_B[row]
        item_vectors_BLd[row, :n] = vectors
        actions_BL[row, :n] = tensors.actions
        gaps_BL[row, :n] = tensors.gaps
        starts_BL[row, :n] = tensors.starts
    return model.run(
        item_vectors=item_vectors_BLd,
        actions=actions_BL,
        gaps=gaps_BL,
        starts=starts_BL,
        lengths=lengths_B,
    )
