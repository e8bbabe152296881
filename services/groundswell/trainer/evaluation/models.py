"""What a bundle's exported models make of the users' histories before given events."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.ranker_service.fusion import FusedVectors, Fusion
from groundswell.retrieval.neighbours import Neighbours
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.bundle_items import Candidates, EncodeTexts, neighbour_matrix
from groundswell.trainer.inputs.histories import (
    ChunkTable,
    Histories,
    cut_chunks,
    gate_inputs,
    window_rows,
)
from groundswell.trainer.neighbours.cooccurrence import (
    Reading,
    Sources,
    history_source,
    window_source,
)

MODELS = ("short", "short-session", "long", "constant", "fused")
"""What a bundle can rank with."""
_BATCH = 256


class Users(NamedTuple):
    """One vector for the user of each of n events."""

    vectors: NDArray[np.float32]
    """[n, d]"""
    known: NDArray[np.bool_]
    """[n] False where nothing was known to make a vector of: popularity answers then."""
    source: sp.csr_array | None
    """[n, N'] what the neighbours add to the candidates' scores; None without neighbours."""


class BundleViews:
    """Runs a bundle's models before n events on the inputs that the servers give them, each once.

    `item_vectors` [N, d] are those of the prepared items. Raises DataError when the bundle reads
    times and the log has none.
    """

    def __init__(
        self,
        bundle: Bundle,
        prepared: Prepared,
        events: NDArray[np.int64],
        item_vectors: NDArray[np.float32],
        candidates: Candidates,
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
        self._candidates = candidates
        self._rows = np.array([bundle.rows.get(i, -1) for i in prepared.item_ids], np.int64)
        self._encode = encode
        begin = prepared.offsets[prepared.users[events]]
        self._has_past = events > begin
        self._has_profile = prepared.profile_until(events) > begin

    def users(self, model: str) -> Users:
        """Return the vectors that one of `MODELS` ranks with."""
        sources = self._sources
        if model == "short":
            return Users(self.short, self._has_past, sources and sources.short)
        if model == "short-session":
            clipped = self._neighbours_before(self._session_begin)
            return Users(self.short_of_session, self._has_past, clipped and clipped.short)
        if model == "long":
            return Users(self.long, self._has_profile, sources and sources.long)
        weight = self._bundle.manifest.fusion.constant_alpha if model == "constant" else np.nan
        fused = self._fuse(weight)
        alphas = fused.alphas.mean(axis=1, keepdims=True)
        mixed = sources and sources.short.multiply(alphas) + sources.long.multiply(1 - alphas)
        return Users(fused.user, self._has_past, mixed)

    @cached_property
    def short(self) -> NDArray[np.float32]:
        """[n, d] of the newest events, as the session service reads them."""
        begin = self._prepared.offsets[self._prepared.users[self._events]]
        return self._windows(begin)

    @cached_property
    def short_of_session(self) -> NDArray[np.float32]:
        """[n, d] of the events of the current session alone: of none at its first event."""
        return self._windows(self._session_begin)

    @property
    def _session_begin(self) -> NDArray[np.int64]:
        return self._events - self._prepared.session_place[self._events] + 1

    @cached_property
    def _sources(self) -> Sources | None:
        return self._neighbours_before(None)

    def _neighbours_before(self, begin: NDArray[np.int64] | None) -> Sources | None:
        """Return what the bundle's neighbours say, of the candidates alone."""
        spec = self._bundle.manifest.neighbours
        table = Neighbours.of(self._bundle)
        if spec is None or table is None:
            return None
        similarities = neighbour_matrix(table, self._rows, self._candidates)
        window = Reading(spec.window_length, spec.decay)
        prepared, events = self._prepared, self._events
        sources = Sources(
            window_source(prepared, similarities, events, window, begin),
            history_source(prepared, similarities, events, spec.history_decay),
        )
        return sources.weighed(spec.short_weight, spec.long_weight)

    @cached_property
    def long(self) -> NDArray[np.float32]:
        """[n, d] of the profile as it was before each event."""
        manifest, prepared = self._bundle.manifest, self._prepared
        chunks = cut_chunks(prepared, manifest.chunk_length)
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
    def gate_features(self) -> NDArray[np.float32]:
        """[n, G]"""
        length = self._bundle.manifest.window_length
        return gate_inputs(self._prepared, self._events, length).logarithms()

    @cached_property
    def alphas(self) -> NDArray[np.float32]:
        """[n] the fusion weight that is served, a mean over dimensions; NaN where there are not
        both views to weigh."""
        alphas: NDArray[np.float32] = self._fuse(np.nan).alphas.mean(axis=1)
        alphas[~(self._has_past & self._has_profile)] = np.nan
        return alphas

    def _contexts(self) -> NDArray[np.float32]:
        """Return [N, c] the context vectors of the prepared items."""
        texts = self._encode(self._prepared.texts)
        return self._bundle.context_head().run(text_vectors=texts, rows=self._rows)

    def _fuse(self, weight: float) -> FusedVectors:
        """Fuse as the ranker does; with a `weight` of NaN the bundle decides."""
        spec = self._bundle.manifest.fusion
        return Fusion(self._bundle.fusion_model(), spec).fuse(
            self.short,
            self.long,
            self._has_past,
            self._has_profile,
            self.gate_features,
            np.full(len(self._events), weight),
        )

    def _windows(self, begin: NDArray[np.int64]) -> NDArray[np.float32]:
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


def _batched(
    run: Callable[[NDArray[np.int64]], NDArray[np.float32]], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    parts = [run(places[start : start + _BATCH]) for start in range(0, len(places), _BATCH)]
    return np.concatenate(parts)
