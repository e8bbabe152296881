"""The settings of the session service."""

from typing import Annotated

from pydantic import Field

from groundswell.serving.settings import CallingSettings

Seconds = Annotated[float, Field(gt=0, le=3600)]


class SessionSettings(CallingSettings):
    """What the session service reads from `GROUNDSWELL_*`."""

    port: Annotated[int, Field(ge=0, le=65535)] = 50052
    append_timeout_s: Seconds = 5.0
    """How long a write may take at the profile service."""
    list_timeout_s: Seconds = 1.0
    """How long rebuilding one window may take at the profile service."""
    max_windows: Annotated[int, Field(ge=1)] = 20_000
    """How many windows are held, and how many encoded sessions for each loaded bundle: one of each
    for a user."""
    max_window_bytes: Annotated[int, Field(ge=0)] = 320 * 1024 * 1024
    """The bytes that the windows may take; one of 50 events takes 15 to 30 KB, by the length of the
    ids in it."""
    max_view_bytes: Annotated[int, Field(ge=0)] = 320 * 1024 * 1024
    """The bytes that encoded sessions may take, per loaded bundle. The events of a session count,
    even while it shares them with its window."""
    window_ttl_s: Seconds = 10.0
    """How long a window counts as current without a read of the log. Events that another service
    wrote (an import) are seen after this time at the latest."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    """How many windows one run of the model encodes at most."""
    max_queue: Annotated[int, Field(ge=1)] = 1024
    """How many windows may wait for the model before calls are refused."""
    max_queue_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """The bytes that they may take: a window has one vector for each of its events."""
