"""Makes the rows of profiles and chunks that the worker stores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker.histories import Chunk, CutHistory

_LARGEST_HALF = 65_504.0


def profile_row(history: CutHistory, spec: Spec) -> dict[str, Any]:
    """Write a history as a row of `profiles`."""
    return spec._asdict() | {
        "user_no": history.user_no,
        "covered_sequence": history.covered_sequence,
        "covered_us": now_us(),
        "last_event_us": history.last_event_us,
        "num_chunks": history.num_chunks,
        "recent": history.recent,
    }


def chunk_row(
    user_no: int, spec: Spec, chunk: Chunk, vector: NDArray[np.float32]
) -> dict[str, Any]:
    """Write an encoded chunk as a row of `profile_chunks`."""
    last_time_us, last_ordinal, last_event_id = chunk.last
    return spec._asdict() | {
        "user_no": user_no,
        "chunk_no": chunk.number,
        "content_hash": chunk.content_hash,
        "last_time_us": last_time_us,
        "last_ordinal": last_ordinal,
        "last_event_id": last_event_id,
        "vector": vector.clip(-_LARGEST_HALF, _LARGEST_HALF).astype("<f2").tobytes(),
    }
