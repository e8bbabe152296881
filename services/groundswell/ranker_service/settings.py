"""The settings of the ranker service."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from groundswell.features.actions import ACTIONS, action_number
from groundswell.ranker_service.stages.draw import RandomFusion
from groundswell.retrieval.engine import MilvusAddress
from groundswell.serving.settings import Address, CallingSettings

Seconds = Annotated[float, Field(gt=0, le=3600)]


class RankerSettings(CallingSettings):
    """What the ranker service reads from `GROUNDSWELL_*`."""

    caller: ClassVar[str] = "ranker"
    port: Annotated[int, Field(ge=0, le=65535)] = 50053
    max_pending_rpcs: Annotated[int, Field(ge=1)] = 64
    """Calls of one method that gRPC holds until the process accepts them: about as many as it
    accepts in a tenth of a second. Above this number gRPC ends some at once with CANCELLED, and
    above twice this number all."""
    session_address: Address = "127.0.0.1:50052"
    """Where the session service listens, as a gRPC target."""
    recommend_timeout_s: Seconds = 1.0
    """How long a call may take when its client set no deadline."""
    batch_timeout_s: Seconds = 10.0
    """The same for BatchRecommend, RecommendCategories, ExplainItem and ReplayRecommend. It is also
    the time of each batch of StreamRecommend."""
    upstream_timeout_s: Seconds = 0.5
    """How long the profile and the session service are waited for at most. BatchRecommend and
    StreamRecommend wait for them for `upstream_share` of their own time instead."""
    upstream_share: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """The largest share of a call's time to wait for these services; the rest is for ranking."""
    seen_actions: Annotated[tuple[str, ...], NoDecode] = tuple(a for a in ACTIONS if a != "view")
    """The actions that make an item count as seen, separated by commas."""
    max_seen_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """The bytes that the cache of seen items may take: 750 for a user, 8 for each item that counts
    as seen, and 8 for each item whose neighbours are looked up."""
    max_seen_users: Annotated[int, Field(ge=1)] = 100_000
    """How many users the cache of seen items holds."""
    max_kept_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """The bytes that the last answers of the profile service may take, and as many again those of
    the session service. One is used while the service does not answer, and when the service sends
    the same bytes again; 0: none is kept."""
    max_filter_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """The bytes that cached filters may take, per loaded bundle: 12 KB for a filter, and a bit for
    each item."""
    max_filters: Annotated[int, Field(ge=1)] = 2_000
    """How many filters are cached per loaded bundle."""
    max_filter_queue: Annotated[int, Field(ge=256)] = 1024
    """How many filters may wait to be evaluated before calls are refused: of single calls, and as
    many again of BatchRecommend. At least 256, so that an idle ranker takes any batch."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    """How many users are ranked in one run at most."""
    max_queue: Annotated[int, Field(ge=256)] = 1024
    """How many users may wait to be ranked before calls are refused: of single calls, and as many
    again of BatchRecommend."""
    max_queue_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """The bytes that the users who wait to be ranked may take: of single calls, and as many again
    of BatchRecommend. An empty queue takes any batch."""
    max_bulk_users: Annotated[int, Field(ge=1)] = 64
    """For how many users all BatchRecommend calls together ask each service at once. With more,
    single calls would wait longer."""
    max_lists_waiting: Annotated[int, Field(ge=0)] = 20_000
    """How many answered lists may wait to be sent to the profile service, which keeps them; more
    are dropped and counted. 0: no list is kept."""
    random_fusion_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of Recommend's answers whose fusion weight is drawn at random, where the request
    does not force it: their log tells how other weights do (`groundswell outcomes`). None is drawn
    where no list is kept, as with BatchRecommend."""
    random_fusion_weights: str = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"
    """What is drawn: one of some weights, separated by commas; or `normal:D`, a normal distribution
    of deviation D around the bundle's constant, cut to [0, 1]."""
    probation_s: Annotated[float, Field(ge=0)] = 120.0
    """How long a new bundle is on probation: if far more of its answers fail, are empty or lack a
    vector than of the bundle before it, that one ranks again. 0: it stays in any case."""
    withdrawn_file: Path | None = None
    """Where the ranker keeps which bundle it went back from, for its next start; by default
    `withdrawn.json` in the folder of bundles. Set it where that folder cannot be written."""
    start_wait_s: Annotated[float, Field(ge=0)] = 10.0
    """How long the first bundle waits until both encoders hold it; then it ranks in any case."""

    milvus_address: str = ""
    """Where Milvus listens, as `http://HOST:19530`, which then searches the item vectors; see
    docs/operations.md. Empty by default: this process searches them."""
    milvus_token: SecretStr = SecretStr("")
    """`USER:PASSWORD` or a key of Milvus; empty without authentication."""

    @field_validator("milvus_address")
    @classmethod
    def _has_client(cls, value: str) -> str:
        if value and find_spec("pymilvus") is None:
            raise ValueError("needs pymilvus; run: pip install 'groundswell[milvus]'")
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} does not begin with http:// or https://")
        return value

    @field_validator("seen_actions", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())

    @field_validator("seen_actions")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            action_number(name)
        return value

    @field_validator("random_fusion_weights")
    @classmethod
    def _drawable(cls, value: str) -> str:
        RandomFusion(1.0, value)
        return value

    @property
    def milvus(self) -> MilvusAddress | None:
        """Where Milvus listens, if it searches the item vectors."""
        token = self.milvus_token.get_secret_value()
        return MilvusAddress(self.milvus_address, token) if self.milvus_address else None

    @property
    def seen_mask(self) -> int:
        """Bit n is set when the action of number n makes an item count as seen."""
        return sum(1 << action_number(name) for name in set(self.seen_actions))
