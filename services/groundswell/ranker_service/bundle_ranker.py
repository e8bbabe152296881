"""One bundle that is ready to rank: its models, its index, its catalogue and its threads."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.ranker_service.availability import AvailabilityTurns, now_us
from groundswell.ranker_service.bitmaps import FilterBitmaps
from groundswell.ranker_service.bundle_rows import BundleRows
from groundswell.ranker_service.canary import check_canary
from groundswell.ranker_service.catalogue import CatalogueItem, ItemMetadata
from groundswell.ranker_service.item_columns import ItemColumns
from groundswell.ranker_service.pipeline import Pipeline, Ranked, RankInput
from groundswell.ranker_service.popularity_now import CurrentPopularity, ItemPopularity
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.ranker_service.stages.item_ranks import ItemRanks
from groundswell.ranker_service.stages.neighbours import NumberedNeighbours
from groundswell.ranker_service.stages.page_controls import ItemSpread
from groundswell.retrieval.engine import Engine
from groundswell.retrieval.engines import open_index
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Hits
from groundswell.retrieval.scan import SCANNED_UP_TO
from groundswell.serving import tracing
from groundswell.serving.batching import MicroBatcher, one_by_one
from groundswell.serving.errors import FailedPrecondition
from groundswell.serving.telemetry import gauge

_MAX_SIMILAR_QUEUE = 64
_MAX_EXPLAIN_QUEUE = 16
_MAX_TEST_ITEMS = 20
_ON_LOOP_BELOW_S = 0.002
"""Up to this time a hop to the batcher's thread and back costs more than it spares other calls: it
takes about a third of the time of a call."""
_ON_LOOP_MAX_BYTES = 32_000
"""A larger input, such as one with controls, may take far longer than others."""


@dataclass(frozen=True)
class ItemChanges:
    """Changes of the catalogue that came together; an item number is in one of them only."""

    items: Sequence[CatalogueItem]
    vectors: Sequence[NDArray[np.float32] | None]
    """One [d] per item, finite; None: the item keeps the vector that it has, if it has one."""
    deleted: NDArray[np.int64]


class BundleRanker:
    """Ranks with one bundle.

    Searches and models run in its own threads. A single small input is ranked on the event loop as
    long as that takes little time. Raises BundleError (BUNDLE_CORRUPT) when the bundle's files do
    not serve.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: RankerSettings,
        current: CurrentPopularity | None = None,
    ) -> None:
        """`current` is what is popular now; without it only what training found popular is."""
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.space = BundleSpace(bundle.id, bundle.manifest.dimension)
        self.catalogue_revision = 0
        """Up to which the catalogue has been taken."""
        self.popularity_revision = 0
        """The same of what is popular now."""
        num_rows = len(bundle.item_vectors)
        engine = open_index(bundle, settings.milvus)
        self.index = _index_without_items(engine, bundle)
        self._test_vector = np.array(bundle.item_vectors[:1].sum(0), np.float32)
        self.items = ItemMetadata()
        self.columns = ItemColumns()
        self._turns = AvailabilityTurns()
        self._changing = threading.Lock()
        self._spread = ItemSpread(bundle.item_vectors)
        del bundle.item_vectors  # the index has them
        self.filters = FilterBitmaps(
            self.items,
            max_bytes=settings.max_filter_bytes,
            max_filters=settings.max_filters,
            max_queue=settings.max_filter_queue,
        )
        self._interests = bundle.interest_head(settings.threads)
        self._fusion = Fusion(bundle.fusion_model(settings.threads), bundle.manifest.fusion)
        if settings.milvus is None:  # that it does not answer says nothing about the bundle
            recall = check_canary(bundle, self._fusion, engine)
            if recall is not None:
                gauge("canary_recall", recall)
        self._bundle_rows = BundleRows(num_rows)
        self._neighbours = NumberedNeighbours.of(bundle, self._bundle_rows)
        spec = bundle.manifest.popularity
        self._popularity = ItemPopularity(
            current or CurrentPopularity(),
            bundle.popularity,
            0.0 if spec is None else spec.weight,
        )
        self._pipeline = self._with_popularity()
        self._ranking = self._ranking_batcher(settings)
        self._similar: MicroBatcher[Callable[[], Hits], Hits] = one_by_one(
            "similar", lambda search: search(), _MAX_SIMILAR_QUEUE
        )
        self._explaining: MicroBatcher[tuple[RankInput, int], ItemRanks | None] = one_by_one(
            "explain", lambda asked: self._item_ranks(*asked), _MAX_EXPLAIN_QUEUE
        )

    def change(self, changes: ItemChanges) -> int:
        """Take changes of the catalogue; return how many attributes were refused.

        Blocks; to be called by one thread at a time, and not by the event loop's.
        """
        with self._changing:
            return self._change(changes)

    def _change(self, changes: ItemChanges) -> int:
        rows = self.bundle.row_finder.find([item.item_id for item in changes.items])
        num_refused = self.items.put(changes.items)
        self._turns.put(changes.items)
        self.columns.put(changes.items)
        self._note_rows(changes.items, rows)
        # Before its vector comes, so that no search finds an item that is not available.
        self._note_availability([item.item_no for item in changes.items])
        if len(changes.deleted):
            self.index.remove(changes.deleted)
            self._bundle_rows.remove(changes.deleted)
            self.items.remove(changes.deleted.tolist())
        encoded = [n for n, vector in enumerate(changes.vectors) if vector is not None]
        if encoded:
            self.index.put(
                np.array([changes.items[n].item_no for n in encoded], np.int64),
                np.stack([vector for vector in changes.vectors if vector is not None]),
                rows[encoded],
            )
        return num_refused

    def take_popularity(self) -> None:
        """Take over what is popular now. Blocks while the catalogue changes."""
        with self._changing:
            self.popularity_revision = self._popularity.update(self.space.lineage)
            self._pipeline = self._with_popularity()

    async def rank(self, inputs: Sequence[RankInput]) -> list[Ranked]:
        """Rank for each user. Several users are admitted together, and go after single ones.

        Raises ResourceExhausted (OVERLOADED).
        """
        if len(inputs) == 1:
            return [await self._ranking.submit(inputs[0])]
        return await self._ranking.submit_all(inputs)

    async def item_ranks(self, one: RankInput, item_no: int) -> ItemRanks | None:
        """Return where an item stands for a user; None when it has no vector.

        Raises ResourceExhausted (OVERLOADED).
        """
        return await self._explaining.submit((one, item_no))

    def neighbour_shares(
        self, one: RankInput, item_no: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what each item of a user's window and history adds to an item's neighbour scores.

        Before the fusion weight; zeros without neighbours.
        """
        if self._neighbours is None:
            return np.zeros(len(one.window), np.float32), np.zeros(len(one.history), np.float32)
        return self._neighbours.shares(one.window, one.history, item_no)

    async def similar(self, item_no: int, k: int, filter_text: str) -> Hits:
        """Return the items nearest to one.

        Raises FailedPrecondition (ITEM_NOT_ENCODED), ResourceExhausted (OVERLOADED), and what a
        filter may raise.
        """
        vector = self.index.vector(item_no)
        if vector is None:
            raise FailedPrecondition(
                "ITEM_NOT_ENCODED", "the item has no vector yet: its text waits for the encoder"
            )
        allowed = await self.filters.allowed(filter_text)
        self._turn()
        search = partial(self.index.similar, vector, k, np.array([item_no], np.int64), allowed)
        return await self._similar.submit(search)

    async def warm_up(self) -> None:
        """Answer test queries: every path once, so that the first caller waits for none.

        Raises BundleError (BUNDLE_CORRUPT) when the bundle gives what must not be answered with.
        """
        vector = self._test_vector.copy()
        vector[-1] = 1.0
        items = self._bundle_rows.numbers(
            np.arange(min(len(self.bundle.row_finder), _MAX_TEST_ITEMS))
        )
        queries = [
            RankInput(k=10, short_vector=vector, long_vector=-vector, window=items, history=items),
            RankInput(k=10, short_vector=vector, window=items),
            RankInput(k=10),
        ]
        for ranked in await self.rank(queries):
            if self.index.num_items and not len(ranked.ids):
                raise BundleError("BUNDLE_CORRUPT", "a test query was answered with no item")
            values = [ranked.scores, ranked.alpha, ranked.interests]
            if any(value is not None and not np.isfinite(value).all() for value in values):
                raise BundleError("BUNDLE_CORRUPT", "a test query was answered with a NaN")

    async def close(self) -> None:
        """Finish what was asked and free the threads."""
        await self._ranking.close()
        await self.filters.close()
        await self._similar.close()
        await self._explaining.close()

    def _ranking_batcher(self, settings: RankerSettings) -> MicroBatcher[RankInput, Ranked]:
        return MicroBatcher(
            self._rank,
            name="rank",
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            max_bytes=settings.max_queue_bytes,
            size=lambda one: one.num_bytes,
            weight=lambda one: 1 if one.controls is None else settings.max_batch,
            # Nothing that waits for another process may run on the event loop.
            on_loop_below_s=_ON_LOOP_BELOW_S if self.index.num_fallbacks is None else 0.0,
            on_loop_max_size=_ON_LOOP_MAX_BYTES,
        )

    def _turn(self) -> None:
        """Hide or show the items whose time has come; what else changes goes first."""
        if self._turns.is_due() and self._changing.acquire(blocking=False):
            try:
                self._note_availability(self._turns.due())
            finally:
                self._changing.release()

    def _note_availability(self, item_nos: Collection[int]) -> None:
        """Hide items that may not be recommended now, and show the others."""
        now = now_us()
        items = [item for item in map(self.items.get, item_nos) if item is not None]
        self.index.hide(
            np.array([item.item_no for item in items], np.int64),
            np.array([not item.is_available(now) for item in items], dtype=bool),
        )

    def _rank(self, inputs: list[RankInput]) -> list[Ranked]:
        self._turn()
        num_before = self.index.num_fallbacks
        pages = self._pipeline.rank(inputs)
        if self.index.num_fallbacks == num_before:
            return pages
        return [replace(page, among_popular=True) for page in pages]

    def _item_ranks(self, one: RankInput, item_no: int) -> ItemRanks | None:
        self._turn()
        return self._pipeline.item_ranks(one, item_no)

    def _with_popularity(self) -> Pipeline:
        return Pipeline(
            self._fusion,
            self._neighbours,
            self.index,
            self._popularity.by_number,
            self._interests,
            self._spread,
            self._popularity.added,
            stage=tracing.stage,
        )

    def _note_rows(self, items: Sequence[CatalogueItem], rows: NDArray[np.int64]) -> None:
        """Note the items' rows, and under their numbers how popular they are."""
        numbers = np.array([item.item_no for item in items], np.int64)
        self._bundle_rows.put(numbers, rows)
        if self._popularity.put(numbers, rows):
            self._pipeline = self._with_popularity()


def _index_without_items(engine: Engine, bundle: Bundle) -> ItemIndex:
    """Which rows are items, and under which numbers, only the catalogue says."""
    nothing = np.full(len(bundle.item_vectors), -1, np.int64)
    index = ItemIndex(engine, nothing, scanned_up_to=SCANNED_UP_TO)
    if not index.holds(bundle.item_vectors):
        raise BundleError("BUNDLE_CORRUPT", "the index does not hold the items' vectors")
    return index
