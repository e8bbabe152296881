"""The two views of a user that the ranker gathers, and for whom it gathers them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.common.v1.event_pb2 import InlineEvents
from groundswell.ranker_service.seen import Seen
from groundswell.serving.errors import ServiceError


@dataclass(frozen=True)
class Subject:
    """The user, or the anonymous visitor with their events, whose views are needed."""

    user_id: str = ""
    user_key: bytes = b""
    """The user's pseudonym, which the cache of seen items is keyed by."""
    inline_events: InlineEvents | None = None
    where: str = ""
    """The path of the subject's request in a batch; empty for a call of one request."""


@dataclass(frozen=True)
class ProfileView:
    """The long-term view of a user."""

    vector: NDArray[np.float32] | None
    """[d] u_l; None while the encoder has covered nothing."""
    num_events: int
    last_event_us: int | None
    """When the vector's last covered event happened."""
    stale: bool
    seen: Seen | None
    """None when it is not known."""
    is_of_now: bool = True
    """False when the database did not answer, and the profile service gave an earlier answer."""


@dataclass(frozen=True)
class SessionView:
    """The short-term view of a user or a visitor."""

    vector: NDArray[np.float32] | None
    """[d] u_s; None for an empty window."""
    num_session_events: int
    last_event_us: int | None
    window: NDArray[np.int64]
    """[n] the items of the window's events, oldest first; -1 for a dislike."""
    seen: NDArray[np.int64]
    """The items of the window that count as seen."""
    stale: bool
    """Whether the newest events may be missing."""


@dataclass(frozen=True)
class Views:
    """Both views; None where a service did not answer in time."""

    profile: ProfileView | None
    session: SessionView | None


def located(error: ServiceError, where: str) -> ServiceError:
    """Return the error with the path of the request in a batch; the same error for no path."""
    if not where:
        return error
    field = where if error.field is None else f"{where}.{error.field}"
    message = f"{where}: {error.message}"
    return type(error)(error.reason, message, field=field, retry_after_s=error.retry_after_s)
