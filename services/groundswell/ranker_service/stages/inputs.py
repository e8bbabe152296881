"""Inputs stage: writes down what an answer was made of, so that it can be made again."""

import zlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.pipeline import Ranked
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.gather import Gathered
from groundswell.serving.attribution import AnswerInputs


def inputs_of(
    ranker: BundleRanker,
    ask: Ask,
    gathered: Gathered,
    ranked: Ranked,
    listed: Sequence[CatalogueItem | None],
    degradations: Collection[int],
) -> AnswerInputs:
    """Return what made an answer, but the digest of its request."""
    short, long, shown = gathered.short, gathered.long, gathered.shown
    items = None if long is None else long.items
    reads_popularity = ranked.fallback or ranked.popularity_scores is not None
    return AnswerInputs(
        lineage=zlib.crc32(ranker.space.lineage.encode()),
        catalogue_revision=ranker.catalogue_revision,
        session_sequence=0 if short is None else short.last_sequence,
        history_version=0 if items is None else items.version,
        popularity_revision=ranker.popularity_revision if reads_popularity else 0,
        shown=0 if shown is None else _check(shown.item_nos, shown.counts.astype(np.int64)),
        degradations=sum(1 << kind for kind in set(degradations)),
        as_of_us=max(ask.as_of_us, 0),
        seed=0 if ask.controls is None else ask.controls.seed,
        is_forced=ask.fusion_weight is not None,
        # By the ids: after a restore of the database another item may have the same number.
        items=zlib.crc32("\0".join([one.item_id for one in listed if one is not None]).encode()),
    )


def _check(*arrays: NDArray[np.int64]) -> int:
    return zlib.crc32(b"".join(array.tobytes() for array in arrays))
