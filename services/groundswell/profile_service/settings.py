"""The settings of the profile service and of the encoder worker."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from groundswell.profile_service.backend_names import BackendName
from groundswell.profile_service.store.urls import url_problem
from groundswell.serving.redaction import masked, scheme_of
from groundswell.serving.settings import PREFIX, SecretSettings, ServingSettings

_SQLITE = "sqlite+aiosqlite://"
_POSTGRESQL = "postgresql+psycopg://"


class DatabaseSettings(BaseSettings):
    """The settings that name the database; a command that needs only the database reads these."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    database_url: str = f"{_SQLITE}/groundswell.db"
    """`sqlite+aiosqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`."""

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of one process alone."""
        return self.database_url.startswith(_SQLITE)

    @model_validator(mode="after")
    def _known_database(self) -> Self:
        if not self.database_url.startswith((_SQLITE, _POSTGRESQL)):
            raise ValueError(
                f"GROUNDSWELL_DATABASE_URL: the scheme {scheme_of(self.database_url)!r} is neither "
                "sqlite+aiosqlite nor postgresql+psycopg"
            )
        problem = url_problem(self.database_url)
        if problem is not None:
            raise ValueError(f"GROUNDSWELL_DATABASE_URL: {problem}")
        if self.is_sqlite and self.database_url.removeprefix(_SQLITE) in ("", "/", "/:memory:"):
            raise ValueError(
                f"GROUNDSWELL_DATABASE_URL: {masked(self.database_url)} names no file; events must "
                "outlive the process"
            )
        return self


class TombstoneSettings(DatabaseSettings):
    """Where the database is, and the tombstones outside of it."""

    erasures: Path | None = None
    """The file, outside the database, that keeps the tombstones of erased users, so that they
    outlive the restore of a backup. Each process needs its own. Unset: a file beside that of
    SQLite; none for PostgreSQL, and then an older backup brings erased users back."""

    @property
    def tombstone_file(self) -> Path | None:
        """The file that keeps the tombstones of erased users; None for none."""
        return self._beside(self.erasures, "erasures")

    def _beside(self, named: Path | None, ending: str) -> Path | None:
        if named is not None or not self.is_sqlite:
            return named
        return Path(f"{self.database_url.removeprefix(f'{_SQLITE}/')}.{ending}")


class RotationSettings(TombstoneSettings, SecretSettings):
    """The settings of the command that rewrites users' keys."""


class ProfileSettings(TombstoneSettings, ServingSettings):
    """What the profile service reads from `GROUNDSWELL_*`."""

    port: Annotated[int, Field(ge=0, le=65535)] = 50051
    high_water_file: Path | None = None
    """The file, outside the database, that keeps how far the database was, so that the next start
    detects a restore from a backup. Each process needs its own file. Unset: a file beside that of
    SQLite; none for PostgreSQL, and then only a restore under a running process is detected."""
    pool_size: Annotated[int, Field(ge=1, le=200)] = 8
    """Connections to the database that calls use at most. The service holds one more to PostgreSQL,
    which listens for changes."""
    pool_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """How long a call waits for a connection before it is refused."""
    max_event_future_s: Annotated[float, Field(ge=0, le=3_155_760_000)] = 86_400.0
    """How far in the future an event may lie, in seconds; a later event is rejected
    (TIME_IN_FUTURE). A day allows for every time zone, but not for a clock with a wrong year."""
    visitor_keep_s: Annotated[float, Field(gt=0, le=3_155_760_000)] = 30 * 86_400.0
    """How long after its last event or link an anonymous session is deleted, with the events that
    were not moved to a user."""
    list_keep_s: Annotated[float, Field(gt=0, le=3_155_760_000)] = 90 * 86_400.0
    """How long after its answer a shown list is deleted, in seconds."""
    retention_days: Annotated[float, Field(ge=0, le=36_525)] = 0.0
    """How many days after they happened events are deleted. A user without events leaves. 0: events
    stay for ever."""
    stage_keep_s: Annotated[float, Field(gt=0, le=3_155_760_000)] = 86_400.0
    """How long after its last change a stage that was not committed is dropped, in seconds."""
    popularity_half_life_s: Annotated[float, Field(ge=60, le=3_155_760_000)] = 7 * 86_400.0
    """After how long an event counts half for what is popular now. After a change all values are
    made again from the stored events; the process that was started last decides."""
    database_wait_s: Annotated[float, Field(ge=0)] = 30.0
    """How long the start waits for a database that does not answer, before the process ends. Health
    says NOT_SERVING meanwhile. The default is longer than a usual failover."""
    worker: bool = True
    """Whether the encoder worker runs inside this process. Off: `… encode` runs elsewhere."""
    worker_threads: Annotated[int, Field(ge=1)] = 1
    """Threads of the worker's text encoder."""
    text_vectors: Path | None = None
    """A prepared log's `text_vectors` folder: what training encoded there with the same encoder is
    not encoded again. It is only read, and held in memory."""
    worker_claim_tokens: Annotated[int, Field(ge=1, le=2**24)] | None = None
    """How much text the worker claims at once, in estimated tokens; at least one item or user is
    claimed. Unset: 16,384, about two seconds of a slow core; on a GPU 1,048,576."""
    lease_s: Annotated[float, Field(gt=0)] = 60.0
    """How long a claim lasts: after it, the work of a dead worker is claimed again."""
    idle_poll_s: Annotated[float, Field(gt=0)] = 0.5
    """The seconds between two looks into the database, of an idle worker and of WatchItems."""
    max_cached_profiles: Annotated[int, Field(ge=1)] = 20_000
    """Profiles that are held in memory, of all bundles together. A user counts once for each
    bundle that was asked for."""
    max_cached_profile_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """The bytes that these may take: 20 for each item that a user acted on, 8 for each item that
    the head read, 8 for each dimension of the vector, and about 2,150 more for a profile."""
    max_cached_items: Annotated[int, Field(ge=1)] = 100_000
    """Item vectors that are held in memory per loaded bundle."""
    max_cached_item_bytes: Annotated[int, Field(ge=0)] = 128 * 1024 * 1024
    """The bytes that these vectors may take per loaded bundle: 4 a dimension, and 350 an item."""
    max_cached_text_bytes: Annotated[int, Field(ge=0)] = 32 * 1024 * 1024
    """The bytes of the vectors of free texts that are held in memory per loaded bundle."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    """How many profiles one run of the head computes at most."""
    max_queue: Annotated[int, Field(ge=1)] = 1024
    """How many users, and how many texts, may wait for a model before calls are refused: of single
    calls, and as many again of batches."""
    max_queue_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """The bytes that each of these may take while they wait; an empty queue takes any batch."""
    encode_texts_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long EncodeTexts may take when its client set no deadline: 64 long texts take seconds."""
    predict_interests_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """The same for PredictInterests, which reads one text."""

    @property
    def claim_tokens(self) -> int:
        """How much text the worker claims at once."""
        return self.worker_claim_tokens or 16_384

    @property
    def retention_s(self) -> float | None:
        """How long events are kept, in seconds; None: for ever."""
        return self.retention_days * 86_400 or None

    @property
    def lists_s(self) -> float:
        """How long shown lists are kept, in seconds: no longer than events."""
        return min(self.list_keep_s, self.retention_s or self.list_keep_s)

    @property
    def high_water(self) -> Path | None:
        """The file that keeps how far the database was; None for none."""
        return self._beside(self.high_water_file, "high-water")

    @model_validator(mode="after")
    def _one_writer(self) -> Self:
        if self.is_sqlite and not self.worker:
            raise ValueError(
                "GROUNDSWELL_WORKER: with SQLite the worker must run inside the service: a second "
                "process must not write the file; use PostgreSQL to run it elsewhere"
            )
        return self


class WorkerSettings(ProfileSettings):
    """What `python -m groundswell.profile_service encode` reads besides."""

    port: Annotated[int, Field(ge=0, le=65535)] = 50054
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where the text encoder runs: `cpu` or, in torch, `cuda` or `cuda:N`."""
    encoder_backend: BackendName = "auto"
    """What encodes the chunks of histories: `onnx` in fp32, `onnx-int8`, or `torch`, in bf16 where
    the device computes with it. `auto` takes the fastest installed one that passes a recall
    test at the start (`docs/decisions/text-backends.md`). Items are always encoded in fp32."""
    encoder_cache: Path | None = None
    """The folder that keeps the results of this test for the next start. Unset: each start tests
    again, for about half a minute of a slow core."""

    @property
    def claim_tokens(self) -> int:
        """How much text the worker claims at once."""
        return self.worker_claim_tokens or (16_384 if self.device == "cpu" else 1_048_576)

    @model_validator(mode="after")
    def _runs_on_the_device(self) -> Self:
        if self.device != "cpu" and self.encoder_backend not in ("auto", "torch"):
            raise ValueError(
                f"GROUNDSWELL_ENCODER_BACKEND: {self.encoder_backend} runs on the cpu alone, and "
                f"GROUNDSWELL_DEVICE is {self.device}; use auto or torch"
            )
        return self

    @model_validator(mode="after")
    def _not_sqlite(self) -> Self:
        if self.is_sqlite:
            raise ValueError(
                "GROUNDSWELL_DATABASE_URL: a worker of its own needs PostgreSQL; with SQLite the "
                "worker runs inside the profile service"
            )
        return self
