"""The session service's copy of the catalogue: the table of items of one bundle."""

from groundswell.profile.v1.catalogue_service_pb2 import WatchItemsResponse
from groundswell.runtime.catalogue_follower import item_vector
from groundswell.session_service.items import ItemTable


class ItemTables:
    """Fills the table that the encoder of a bundle reads."""

    def __init__(self, items: ItemTable, bundle_id: str) -> None:
        self._items = items
        self._bundle_id = bundle_id

    async def make(self) -> ItemTable:
        """Make a table without items."""
        return ItemTable(self._items.dimension)

    async def change(self, copy: ItemTable, message: WatchItemsResponse) -> None:
        """Take the changes of a message."""
        for change in message.changes:
            item = change.item
            if change.deleted:
                copy.delete(item.item_id, item.item_no)
            else:
                vector = item_vector(change, copy.dimension, self._bundle_id)
                copy.upsert(item.item_id, item.item_no, vector)

    async def use(self, copy: ItemTable, lineage: str) -> ItemTable:
        """Let the encoder read a table that has caught up; it keeps the one that it has."""
        copy.lineage = lineage
        if copy is not self._items:
            self._items.become(copy)
        return self._items

    async def close(self, copy: ItemTable) -> None:
        """Nothing is to be freed."""
