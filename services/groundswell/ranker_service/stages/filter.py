"""Filter stage: finds which items may be returned, and which may not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.bitmaps import FilterBitmaps
from groundswell.ranker_service.catalogue import ItemMetadata
from groundswell.ranker_service.requests import Ask, located
from groundswell.ranker_service.stages.gather import Gathered
from groundswell.retrieval.id_set import IdSet
from groundswell.serving.errors import InvalidArgument, ServiceError


async def allowed_items(bitmaps: FilterBitmaps, asks: Sequence[Ask]) -> list[IdSet | None]:
    """Return for each ask which items pass its filter; None for all of them.

    Raises InvalidArgument (FILTER_INVALID) and ResourceExhausted (OVERLOADED).
    """
    if len(asks) == 1:
        try:
            return [await bitmaps.allowed(asks[0].filter)]
        except InvalidArgument as error:
            raise located(error, asks[0].where) from error
    found = await bitmaps.allowed_by_all([ask.filter for ask in asks])
    allowed = []
    for ask, one in zip(asks, found, strict=True):
        if isinstance(one, ServiceError):
            raise located(one, ask.where)
        allowed.append(one)
    return allowed


class Exclusions:
    """Finds the items that may not be returned to a user.

    `seen_mask` has a bit for each action that makes an item count as seen: 1 << its number.
    """

    def __init__(self, seen_mask: int) -> None:
        self._seen_mask = seen_mask

    def of(self, items: ItemMetadata, ask: Ask, gathered: Gathered) -> list[NDArray[np.int64]]:
        """Return the numbers of denied items, and of those seen in history and window."""
        excluded = [items.numbers(ask.deny_item_ids)]
        if ask.exclude_seen:
            if gathered.long is not None and gathered.long.items is not None:
                excluded.append(gathered.long.items.seen)
            if gathered.short is not None:
                excluded.append(gathered.short.seen)
            if ask.inline_events is not None:
                # The window may hold fewer events than the visitor sent.
                events = ask.inline_events.events
                seen = [e.item_id for e in events if self._seen_mask >> e.action & 1]
                excluded.append(items.numbers(seen))
        return excluded
