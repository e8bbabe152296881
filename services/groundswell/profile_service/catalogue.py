"""Use cases of the catalogue: write, delete, list and follow items."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import NamedTuple

from groundswell.features.text import item_text
from groundswell.profile_service.identity.lineage import begin_lineage
from groundswell.profile_service.store import items as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.identity import Standing, read_lineage, read_standing
from groundswell.profile_service.store.items import Attribute, ItemContent, ItemPage, KnownItem
from groundswell.profile_service.store.polling import SharedPoll
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_items
from groundswell.profile_service.store.work import WorkList
from groundswell.serving.errors import AlreadyExists, InvalidArgument, NotFound

WATCH_PAGE = 500


class UpsertMode(Enum):
    """Which items a call may write; the values are those of the contract."""

    ANY = 0
    INSERT = 1
    UPDATE = 2


@dataclass(frozen=True, slots=True)
class Changes:
    """A run of changes of the catalogue, by revision."""

    items: Sequence[KnownItem]
    revision: int
    caught_up: bool
    lineage: str
    """The lineage of the database that the revision belongs to."""
    reset: bool
    """Whether the watcher must first drop all items that it holds."""


class StoredCatalogue:
    """Writes and reads the stored items."""

    def __init__(self, database: Database, signals: Signals, idle_poll_s: float) -> None:
        self._database = database
        self._signals = signals
        self._poll = SharedPoll(
            lambda: database.read(read_standing), signals.catalogue, idle_poll_s
        )
        self._stale = WorkList(stale_items)

    async def upsert(
        self, contents: Sequence[ItemContent], mode: UpsertMode = UpsertMode.ANY
    ) -> tuple[list[int], int]:
        """Write items, all or none; return their numbers in order, and the revision after.

        An item that is equal to what is stored changes nothing; one whose text changed loses its
        vector and waits for the encoder. Raises InvalidArgument (ATTRIBUTES_INVALID) for an
        attribute of another kind than before, and AlreadyExists (ITEM_EXISTS) or NotFound
        (ITEM_NOT_FOUND) for an item that `mode` does not let in.
        """
        written = await self._database.write(lambda c: self._upsert(c, contents, mode))
        if written.num_changed:
            self._signals.work.notify()
            self._signals.catalogue.notify()
        numbers = [written.numbers[content.item_id] for content in contents]
        return numbers, written.revision

    async def delete(self, item_ids: Sequence[str]) -> tuple[int, int]:
        """Delete items; return how many were there, and the revision after."""
        num_deleted, revision = await self._database.write(lambda c: _delete(c, item_ids))
        if num_deleted:
            self._signals.catalogue.notify()
        return num_deleted, revision

    async def get(self, item_id: str) -> KnownItem:
        """Return one item. Raises NotFound (ITEM_NOT_FOUND)."""
        found = await self._database.read(lambda c: statements.find_items(c, [item_id]))
        item = found.get(item_id)
        if item is None or item.deleted:
            raise NotFound(
                "ITEM_NOT_FOUND", "item_id names no item of the catalogue", field="item_id"
            )
        return item

    async def list(self, after_no: int, limit: int) -> tuple[ItemPage, str]:
        """Return the items after a number that are not deleted, and the lineage."""

        def look(connection: DatabaseConnection) -> tuple[ItemPage, str]:
            page = statements.list_items(connection, after_no, limit)
            return page, read_lineage(connection)

        return await self._database.read(look)

    async def watch(
        self, since: int, fingerprint: str, lineage: str = ""
    ) -> AsyncGenerator[Changes, None]:
        """Yield every change after a revision, for ever; the first answer comes at once.

        A write of this process wakes the watcher at once. Writes of other processes are found by a
        poll that all watchers share, so a waiting watcher costs nothing. When the database is not
        of `lineage`, its revision is lower than before, or a stage was committed since, all items
        are sent again. An empty lineage is unknown.
        """
        first, reset, switch = True, False, -1
        look = partial(_newer, fingerprint=fingerprint)
        with self._poll.waiting():
            while True:
                mark = self._signals.catalogue.mark
                now, page = await self._database.read(partial(look, since=since))
                went_back = since > now.catalogue_revision
                if went_back and lineage == now.lineage:
                    evidence = f"a watcher has revision {since}, the database has not"
                    await begin_lineage(self._database, lineage, evidence)
                    continue
                if went_back or lineage not in ("", now.lineage):
                    reset = reset or since > 0
                    since, lineage = 0, now.lineage
                    continue
                is_newer = now.switch_revision > (since if switch < 0 else switch)
                switch = now.switch_revision
                if is_newer and since:
                    # In parts, a watcher would show a half of what was committed at once.
                    since, reset = 0, True
                    continue
                since = page.items[-1].revision if page.items else since
                lineage = now.lineage
                if page.items or first or reset:
                    yield Changes(page.items, since, not page.more, lineage, reset)
                first = reset = False
                if not page.more:
                    await mark.wait()

    def _upsert(
        self, connection: DatabaseConnection, contents: Sequence[ItemContent], mode: UpsertMode
    ) -> "_Written":
        revision = statements.lock_revision(connection)
        kinds = new_kinds(contents, statements.attribute_kind_table(connection))
        statements.add_attribute_kinds(connection, kinds)
        known = statements.find_items(connection, [c.item_id for c in contents])
        _check_mode(contents, known, mode)
        new = [c for c in contents if c.item_id not in known]
        changed = [c for c in contents if c.item_id in known and _differs(c, known[c.item_id])]
        new_revisions = range(revision + 1, revision + 1 + len(new))
        revision += len(new) + len(changed)
        changed_revisions = range(revision + 1 - len(changed), revision + 1)
        numbers = {item_id: item.item_no for item_id, item in known.items()}
        numbers |= statements.insert_items(connection, new, new_revisions)
        rewritten = {
            numbers[c.item_id]: r
            for c, r in zip(changed, changed_revisions, strict=True)
            if _text(c) != _text(known[c.item_id].content)
        }
        fresh = {numbers[c.item_id]: r for c, r in zip(new, new_revisions, strict=True)}
        self._stale.mark(connection, fresh | rewritten, again=True)
        statements.update_items(connection, changed, changed_revisions)
        statements.drop_texts(connection, rewritten.keys())
        statements.set_revision(connection, revision)
        return _Written(numbers, len(new) + len(changed), revision)


def _check_mode(
    contents: Sequence[ItemContent], known: Mapping[str, KnownItem], mode: UpsertMode
) -> None:
    if mode is UpsertMode.ANY:
        return
    for index, content in enumerate(contents):
        item = known.get(content.item_id)
        exists = item is not None and not item.deleted
        field = f"items[{index}].item_id"
        if exists and mode is UpsertMode.INSERT:
            raise AlreadyExists("ITEM_EXISTS", f"{field} names an item that exists", field=field)
        if not exists and mode is UpsertMode.UPDATE:
            message = f"{field} names no item of the catalogue"
            raise NotFound("ITEM_NOT_FOUND", message, field=field)


class _Written(NamedTuple):
    """The result of an upsert."""

    numbers: dict[str, int]
    """Every item's number, by id."""
    num_changed: int
    revision: int


def _newer(
    connection: DatabaseConnection, since: int, fingerprint: str
) -> tuple[Standing, ItemPage]:
    """Return the database's lineage and revision, and what changed after a revision."""
    now = read_standing(connection)
    if now.catalogue_revision <= since:  # the usual case
        return now, ItemPage([], more=False)
    return now, statements.changes_since(connection, since, fingerprint, WATCH_PAGE)


def _delete(connection: DatabaseConnection, item_ids: Sequence[str]) -> tuple[int, int]:
    revision = statements.lock_revision(connection)
    known = statements.find_items(connection, item_ids)
    numbers = [item.item_no for item in known.values() if not item.deleted]
    revisions = {number: revision + 1 + n for n, number in enumerate(numbers)}
    statements.touch_items(connection, revisions, deleted=True)
    revision += len(numbers)
    statements.set_revision(connection, revision)
    return len(numbers), revision


def attribute_kind(value: Attribute) -> str:
    """Name the kind of an attribute's value, as the contract's oneof does."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, float) else "texts"


def new_kinds(contents: Sequence[ItemContent], known: dict[str, str]) -> dict[str, str]:
    """Return the kinds of attributes that are not known yet.

    Raises InvalidArgument (ATTRIBUTES_INVALID) for an attribute of another kind than before.
    """
    new: dict[str, str] = {}
    for index, content in enumerate(contents):
        for name, value in content.attributes.items():
            kind = attribute_kind(value)
            before = known.get(name) or new.setdefault(name, kind)
            if kind != before:
                raise InvalidArgument(
                    "ATTRIBUTES_INVALID",
                    f"items[{index}].attributes.{name} is a {kind}, but was first a {before}",
                    field=f"items[{index}].attributes",
                )
    return new


def _differs(content: ItemContent, known: KnownItem) -> bool:
    return known.deleted or content != known.content


def _text(content: ItemContent) -> str:
    return item_text(content.title, content.categories, content.description)
