"""The manifest of a bundle: everything that a server must know before it reads another file."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from groundswell.features.gate import NUM_GATE_FEATURES
from groundswell.features.window import MAX_RECENT

FORMAT_VERSION: Final = 2

_Range = Annotated[
    tuple[float, ...], Field(min_length=NUM_GATE_FEATURES, max_length=NUM_GATE_FEATURES)
]


# No bundle is near to these bounds. A damaged one must not ask for all memory.
_Width = Annotated[int, Field(ge=1, le=8_192)]
_Length = Annotated[int, Field(ge=1, le=10_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Frozen):
    """One file of the bundle."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class TextSpec(_Frozen):
    """The text encoder in `text_encoder/`."""

    source: str
    """Where it came from: a hub id, a package or a folder's name."""
    fingerprint: str
    """Names model, precision and template version: vectors of different ones are never mixed."""
    dimension: _Width
    max_tokens: Annotated[int, Field(ge=8, le=65_536)]


class FusionSpec(_Frozen):
    """How the short-term and the long-term vector are fused."""

    mode: Literal["learned", "constant"]
    """What gives the fusion weight by default; validation chose it."""
    constant_alpha: Annotated[float, Field(ge=0, le=1)]
    """The share of the short-term vector that was best on validation as a constant."""
    gate_low: _Range
    """The smallest gate features seen in training; see `features.gate`."""
    gate_high: _Range
    """The largest ones."""


class NeighbourSpec(_Frozen):
    """How neighbour scores are made of windows and histories; see `retrieval.neighbours`."""

    count: Annotated[int, Field(ge=1)]
    """K: the most neighbours that are kept of an item."""
    window_length: Annotated[int, Field(ge=1)]
    """The most events of a window that are read: its newest ones."""
    decay: Annotated[float, Field(ge=0, le=1)]
    """The weight of each of them relative to the next newer one."""
    short_weight: Annotated[float, Field(ge=0)]
    """What a similarity of 1 to the window's newest item adds to a short-term score."""
    history_decay: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The weight of each item of a history relative to the next newer one."""
    long_weight: Annotated[float, Field(ge=0)]
    """The Euclidean norm of the weights of a history's items, in a long-term score."""


class PopularitySpec(_Frozen):
    """How much what is popular now adds to a score; see `features.popularity_values`."""

    weight: Annotated[float, Field(ge=0)]
    """What an item gets that is e times as popular as the last one that gets anything."""


class CanarySpec(_Frozen):
    """Canary queries, with the items that a search must find; see `Bundle.canary`."""

    num: Annotated[int, Field(ge=1, le=1_000)]
    recall: Annotated[float, Field(ge=0, le=1)]
    """The share of these items that the bundle's own index found for them when it was made."""


class HistoryTextSpec(_Frozen):
    """Whether the profile head reads the texts of histories, and what they add on validation.

    The figures are NDCG@10 of both vectors, fused by the constant that is best with the texts. None
    where nothing was measured: without validation, or because the setting said "skip".
    """

    mode: Literal["read", "skip"]
    """skip: no chunk of a history is encoded or read; the newest events alone make the vector."""
    ndcg_with: float | None = None
    ndcg_without: float | None = None
    """With the vectors that are served before any chunk is encoded."""
    difference: float | None = None
    """ndcg_with - ndcg_without."""
    standard_error: Annotated[float, Field(ge=0)] | None = None
    """Of the difference; paired over targets, clustered by user."""


class Manifest(_Frozen):
    """A bundle, described. Its hash names the bundle."""

    format_version: Literal[2] = FORMAT_VERSION
    created_at: datetime
    dimension: Annotated[int, Field(ge=2, le=8_192)]
    """d: the dimension of the one space, the last of which is the popularity bias."""
    window_length: _Length
    """L: the events that the session encoder reads at most."""
    chunk_length: _Length
    """C: the events of one chunk."""
    max_chunks: _Length
    """The newest full chunks that the profile head reads at most."""
    recent_length: Annotated[int, Field(ge=1, le=MAX_RECENT)]
    """M: the newest events that the profile head reads as items at most."""
    context_dimension: _Width
    """c: the dimension of the context vectors, as which the profile head reads items."""
    use_time: bool
    """False for a log whose times are only positions: no feature of time then."""
    categories: tuple[str, ...]
    """The classes of the interest head, in its order; empty without one."""
    text: TextSpec
    fusion: FusionSpec
    history_text: HistoryTextSpec = HistoryTextSpec(mode="read")
    """Bundles of earlier releases do not say it, and read."""
    neighbours: NeighbourSpec | None = None
    """None: the bundle has no neighbours."""
    popularity: PopularitySpec | None = None
    """None: popularity adds nothing."""
    canary: CanarySpec | None = None
    """None: the bundle has no canary queries, as those of earlier releases."""
    index_kind: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")] | None = None
    """Which engine searches the index; see `retrieval.engines`. None: a FAISS index, whose file
    says whether it is flat or a graph."""
    training: dict[str, Any]
    """Configuration, seed, the data's span and counts."""
    metrics: dict[str, float]
    """By name, such as "validation.fused.ndcg@10"."""
    files: dict[str, FileEntry] = {}
    """Every file of the bundle but the manifest, by path; written when it is published."""

    @property
    def chunk_spec(self) -> tuple[str, int]:
        """The text encoder, and the events of a chunk; 0: histories are not read as text."""
        reads = self.history_text.mode == "read"
        return self.text.fingerprint, self.chunk_length if reads else 0
