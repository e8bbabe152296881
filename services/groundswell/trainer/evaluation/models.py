"""A bundle's exported models on a log: what the ranker would be given before given events."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.features.actions import DISLIKE
from groundswell.features.gate import GateFeatures
from groundswell.ranker_service.pipeline import RankInput
from groundswell.retrieval.query import NO_IDS
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.bundle_items import EncodeTexts, rows_of
from groundswell.trainer.inputs.histories import (
    ChunkTable,
    Histories,
    cut_chunks,
    gate_inputs,
    history_items,
    window_rows,
)

MODELS = ("short", "short-session", "long", "constant", "fused")
"""What a bundle can rank with."""
_BATCH = 256


class _Read(NamedTuple):
    """What a model reads of n events' users; None: it does without."""

    short_vectors: NDArray[np.float32] | None = None
    """[n, d]"""
    window_begins: NDArray[np.int64] | None = None
    """[n] where the windows begin whose items' neighbours count."""
    long_vectors: NDArray[np.float32] | None = None
    """[n, d]"""
    fusion_weight: float | None = None
    """None: the bundle decides."""


class BundleModels:
    """Runs a bundle's encoders before n events on the inputs that the servers give them, each once.

    `item_vectors` [N, d] are those of the prepared items. Raises DataError when the bundle reads
    times and the log has none.
    """

    def __init__(
        self,
        bundle: Bundle,
        prepared: Prepared,
        events: NDArray[np.int64],
        item_vectors: NDArray[np.float32],
        encode: EncodeTexts,
    ) -> None:
        manifest = bundle.manifest
        if manifest.use_time and prepared.order_only:
            raise DataError(
                f"the bundle {bundle.id} reads times, and those of {prepared.folder} are "
                "only positions"
            )
        self._bundle = bundle
        # A bundle of an order-only log makes no feature of time, here as in production.
        self._prepared = replace(prepared, order_only=not manifest.use_time)
        self._events = events
        self._item_vectors = item_vectors
        self._encode = encode
        self._begin = prepared.offsets[prepared.users[events]]
        self._has_past = events > self._begin
        self._has_profile = prepared.profile_until(events) > self._begin

    def inputs(
        self, model: str, some: slice, k: int, exclude: list[NDArray[np.int64]] | None = None
    ) -> list[RankInput]:
        """Return what the ranker is given to rank k items with one of `MODELS`.

        Ids are the prepared items. `exclude` has an array for each of the events.
        """
        read = self._read(model)
        has_short = self._has_past & (read.short_vectors is not None)
        has_long = self._has_profile & (read.long_vectors is not None)
        places = range(*some.indices(len(self._events)))
        windows = self._windows_of(read.window_begins, some)
        histories = self._histories_of(some) if read.long_vectors is not None else windows
        excluded = [()] * len(places) if exclude is None else [(ids,) for ids in exclude]
        return [
            RankInput(
                k=k,
                short_vector=_row(read.short_vectors, n) if has_short[n] else None,
                long_vector=_row(read.long_vectors, n) if has_long[n] else None,
                window=window,
                history=history,
                gate_features=self._gate_features_of(n),
                fusion_weight=read.fusion_weight,
                exclude=limits,
            )
            for n, window, history, limits in zip(places, windows, histories, excluded, strict=True)
        ]

    def _read(self, model: str) -> _Read:
        if model == "short":
            return _Read(self.short_vectors, self._begin)
        if model == "short-session":
            return _Read(self.short_vectors_of_session, self._session_begin)
        if model == "long":
            return _Read(long_vectors=self.long_vectors)
        weight = self._bundle.manifest.fusion.constant_alpha if model == "constant" else None
        return _Read(self.short_vectors, self._begin, self.long_vectors, weight)

    @cached_property
    def short_vectors(self) -> NDArray[np.float32]:
        """[n, d] of the newest events, as the session service reads them."""
        return self._encoded_windows(self._begin)

    @cached_property
    def short_vectors_of_session(self) -> NDArray[np.float32]:
        """[n, d] of the events of the current session alone: of none at its first event."""
        return self._encoded_windows(self._session_begin)

    @property
    def _session_begin(self) -> NDArray[np.int64]:
        return self._events - self._prepared.session_place[self._events] + 1

    @cached_property
    def long_vectors(self) -> NDArray[np.float32]:
        """[n, d] of the profile as it was before each event."""
        manifest, prepared = self._bundle.manifest, self._prepared
        reads = manifest.history_text.mode == "read"
        chunks = cut_chunks(prepared, manifest.chunk_length, read=reads)
        table = ChunkTable(prepared, chunks, self._encode(chunks.texts))
        histories = Histories(prepared, table, manifest.max_chunks, manifest.recent_length)
        head, contexts = self._bundle.profile_head(), self._contexts()
        # A profile that stays as it is for a whole session is made once.
        until, event = np.unique(prepared.profile_until(self._events), return_inverse=True)
        of_session = _batched(
            lambda some: head.run(**histories.before(some).named(contexts)), until
        )
        profiles: NDArray[np.float32] = of_session[event]
        return profiles

    @cached_property
    def gate_features(self) -> GateFeatures:
        """Of all n events."""
        length = self._bundle.manifest.window_length
        return gate_inputs(self._prepared, self._events, length)

    def _gate_features_of(self, n: int) -> GateFeatures:
        return GateFeatures(*(values[n] for values in self._gate_values))

    @cached_property
    def _gate_values(self) -> list[list[Any]]:
        return [values.tolist() for values in vars(self.gate_features).values()]

    def _windows_of(self, begins: NDArray[np.int64] | None, some: slice) -> list[NDArray[np.int64]]:
        """Return the items of each window; a dislike keeps its place, and names none: -1."""
        spec, events = self._bundle.manifest.neighbours, self._events[some]
        if spec is None or begins is None:
            return [NO_IDS] * len(events)
        first = np.maximum(begins[some], events - spec.window_length)
        ends = zip(first.tolist(), events.tolist(), strict=True)
        return [self._window_items[begin:end] for begin, end in ends]

    @cached_property
    def _window_items(self) -> NDArray[np.int64]:
        disliked = self._prepared.actions == DISLIKE
        return np.where(disliked, -1, self._prepared.items).astype(np.int64)

    def _histories_of(self, some: slice) -> list[NDArray[np.int64]]:
        """Return the items of each history, as the profile service gives them to the ranker."""
        events = self._events[some]
        if self._bundle.manifest.neighbours is None:
            return [NO_IDS] * len(events)
        row, read = history_items(self._prepared, events)
        items = self._prepared.items[read].astype(np.int64)
        return np.split(items, np.searchsorted(row, np.arange(1, len(events))))

    def _contexts(self) -> NDArray[np.float32]:
        """Return [N, c] the context vectors of the prepared items."""
        rows = rows_of(self._bundle, self._prepared)
        texts = self._encode(self._prepared.texts)
        return self._bundle.context_head().run(text_vectors=texts, rows=rows)

    def _encoded_windows(self, begin: NDArray[np.int64]) -> NDArray[np.float32]:
        """Encode each event's window, which starts at `begin` [n] or later."""
        model = self._bundle.session_model()
        first = np.maximum(begin, self._events - self._bundle.manifest.window_length)

        def encode(places: NDArray[np.int64]) -> NDArray[np.float32]:
            start = first[places]
            window = window_rows(self._prepared, start, self._events[places] - start)
            return model.run(
                item_vectors=self._item_vectors[window.rows],
                actions=window.actions,
                gaps=window.gaps,
                starts=window.starts,
                lengths=window.lengths,
            )

        # Windows of a length share a batch, so that little of it is padding.
        order = np.argsort(self._events - first, kind="stable")
        vectors = np.empty((len(order), self._bundle.manifest.dimension), np.float32)
        vectors[order] = _batched(encode, order)
        return vectors


def _row(vectors: NDArray[np.float32] | None, n: int) -> NDArray[np.float32] | None:
    return None if vectors is None else vectors[n]


def _batched(
    run: Callable[[NDArray[np.int64]], NDArray[np.float32]], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    parts = [run(places[start : start + _BATCH]) for start in range(0, len(places), _BATCH)]
    return np.concatenate(parts)
