"""Counts what came of the shown lists: how many of the items were clicked, how many purchased."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from groundswell.features.actions import DISLIKE, action_number
from groundswell.profile_service.store.lists import ListCount
from groundswell.serving.vectors import unpack_int64

PURCHASE = action_number("purchase")


class Group(Enum):
    """By what outcomes are counted."""

    BUNDLE = "bundle"
    VARIANT = "variant"
    FUSION_WEIGHT = "fusion_weight"
    PLACE = "place"


class Key(NamedTuple):
    """The common values of a row's lists; a value that is not asked for is the same for all."""

    bundle_id: str = ""
    variant: str = ""
    tenth: int | None = None
    place: int = 0


@dataclass
class OutcomeRow:
    """The counts of a row."""

    num_lists: int = 0
    num_shown: int = 0
    num_clicked: int = 0
    num_purchased: int = 0


class OutcomeCounts:
    """Adds up lists and events into the rows that are asked for."""

    def __init__(self, groups: Collection[Group]) -> None:
        self._groups = groups
        self.rows: defaultdict[Key, OutcomeRow] = defaultdict(OutcomeRow)
        self.num_not_shown = 0
        """The number of items of events that were not in the list that their event names."""
        self._list_id = ""
        """That of the last event; an item counts once in a list."""
        self._counted: set[tuple[int, bool]] = set()
        """Items of that list's events; True: as purchased."""

    def add_lists(self, counted: Iterable[ListCount]) -> None:
        """Add lists that were shown."""
        for alike in counted:
            if Group.PLACE not in self._groups:
                row = self.rows[self._key(alike, 0)]
                row.num_lists += alike.num_lists
                row.num_shown += alike.num_lists * alike.num_items
                continue
            for place in range(1, alike.num_items + 1):
                row = self.rows[self._key(alike, place)]
                row.num_lists += alike.num_lists
                row.num_shown += alike.num_lists

    def add_events(self, events: Iterable[Any]) -> None:
        """Add events that came of them, as `attributed_events` returns them: list by list."""
        for event in events:
            if event.recommendation_id != self._list_id:
                self._list_id, self._counted = event.recommendation_id, set()
            if event.action == DISLIKE:
                continue
            is_new = self._is_new(event.item_no, as_purchased=False)
            places = unpack_int64(event.item_nos).tolist()
            if event.item_no not in places:
                self.num_not_shown += is_new
                continue
            row = self.rows[self._key(event, places.index(event.item_no) + 1)]
            row.num_clicked += is_new
            if event.action == PURCHASE:
                row.num_purchased += self._is_new(event.item_no, as_purchased=True)

    def _is_new(self, item_no: int, *, as_purchased: bool) -> bool:
        """Whether the list's item was not counted yet; it is from now on."""
        is_new = (item_no, as_purchased) not in self._counted
        self._counted.add((item_no, as_purchased))
        return is_new

    def _key(self, alike: Any, place: int) -> Key:
        groups = self._groups
        return Key(
            alike.bundle_id if Group.BUNDLE in groups else "",
            alike.variant if Group.VARIANT in groups else "",
            alike.tenth if Group.FUSION_WEIGHT in groups else None,
            place if Group.PLACE in groups else 0,
        )
