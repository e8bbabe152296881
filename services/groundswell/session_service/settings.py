"""The settings of the session service."""

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from groundswell.serving.redaction import masked
from groundswell.serving.settings import PREFIX, CallingSettings

Seconds = Annotated[float, Field(gt=0, le=3600)]


def _checked_url(url: str) -> str:
    if url and url.partition("://")[0] not in ("redis", "rediss", "unix"):
        raise ValueError(f"{masked(url)} must begin with redis://, rediss:// or unix://")
    return url


class SessionSettings(CallingSettings):
    """What the session service reads from `GROUNDSWELL_*`."""

    caller: ClassVar[str] = "session"
    port: Annotated[int, Field(ge=0, le=65535)] = 50052
    append_timeout_s: Seconds = 5.0
    """How long a write may take at the profile service."""
    list_timeout_s: Seconds = 1.0
    """How long rebuilding one window may take at the profile service."""
    windows_url: Annotated[str, AfterValidator(_checked_url)] = ""
    """The Valkey or Redis that holds the windows, for all replicas of the service: `redis://`,
    `rediss://` (TLS) or `unix://`. Empty: each process holds its own in memory."""
    windows_timeout_s: Seconds = 0.1
    """How long a call of that store may take. Then the store counts as down, and windows are read
    from the log."""
    windows_keep_s: Annotated[float, Field(ge=1, le=30 * 86_400)] = 3600.0
    """How long that store keeps a window after its last change."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """How many processes of this service the deployment runs. With more than one, windows in memory
    are refused: an event that one of them records would reach the others' windows only when these
    get old (`window_ttl_s`). Nothing counts the processes; this is what the deployment declares."""
    max_windows: Annotated[int, Field(ge=1)] = 100_000
    """How many windows are held in memory, and how many encoded sessions for each loaded bundle:
    one of each for a user."""
    max_window_bytes: Annotated[int, Field(ge=0)] = 320 * 1024 * 1024
    """The bytes that the windows in memory may take; one of 50 events takes 1.4 KB."""
    max_encoded_bytes: Annotated[int, Field(ge=0)] = 320 * 1024 * 1024
    """The bytes that encoded sessions may take, per loaded bundle; one of 50 events takes about
    3.5 KB."""
    window_ttl_s: Seconds = 10.0
    """How long a window counts as current without a read of the log. Events that another service
    wrote (an import) are seen after this time at the latest."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    """How many windows one run of the model encodes at most."""
    max_queue: Annotated[int, Field(ge=1)] = 1024
    """How many windows may wait for the model before calls are refused."""
    max_queue_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """The bytes that they may take: a window has one vector for each of its events."""

    @model_validator(mode="after")
    def _replicas_share_their_windows(self) -> Self:
        if self.replicas > 1 and not self.windows_url:
            raise ValueError(
                f"{PREFIX}REPLICAS: {self.replicas} replicas cannot hold their windows in memory; "
                f"name the store that they share in {PREFIX}WINDOWS_URL"
            )
        return self
