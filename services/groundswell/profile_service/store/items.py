"""Statements about the catalogue and the texts of its items."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, ScalarSelect, and_, bindparam, func, select, update

from groundswell.profile_service.store.statements import given_parameters, given_table, insert
from groundswell.profile_service.store.tables import attribute_kinds, counters, item_texts, items

Attribute = str | float | bool | list[str]

_REVISION = "catalogue_revision"

# How many items of a page are read before their size is known, and how many bytes fit into a page.
_FIRST_READ = 32
_PAGE_BYTES = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ItemContent:
    """The fields of an item that a client sets."""

    item_id: str
    title: str = ""
    description: str = ""
    categories: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    available: bool = True
    available_from_us: int | None = None
    available_until_us: int | None = None
    """Exclusive; both in microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An item as it is stored."""

    content: ItemContent
    item_no: int
    revision: int
    deleted: bool
    text_vector: bytes | None = None
    """float32, of the encoder that was asked for; None while it has not read the text."""
    created_us: int | None = None
    """When it was written first; None where an earlier release wrote it."""


class ItemPage(NamedTuple):
    """Consecutive items, and whether more follow."""

    items: list[KnownItem]
    more: bool


class ItemText(NamedTuple):
    """What an item's vector is made of."""

    item_no: int
    item_id: str
    text_vector: bytes | None
    """float32, of the encoder that was asked for; None while it has not read the text."""


def lock_revision(connection: Connection) -> int:
    """Return the catalogue's revision, and lock it until the transaction ends.

    So revisions become visible in their order, and a watcher misses none.
    """
    statement = (
        update(counters)
        .where(counters.c.name == _REVISION)
        .values(value=counters.c.value)
        .returning(counters.c.value)
    )
    return int((connection.execute(statement)).scalar_one())


def set_revision(connection: Connection, revision: int) -> None:
    """Set the catalogue's revision, in the transaction that locked it."""
    statement = update(counters).where(counters.c.name == _REVISION).values(value=revision)
    connection.execute(statement)


def catalogue_revision() -> ScalarSelect[int]:
    """Select the catalogue's revision, as a column of another statement."""
    return select(counters.c.value).where(counters.c.name == _REVISION).scalar_subquery()


def find_items(connection: Connection, item_ids: Collection[str]) -> dict[str, KnownItem]:
    """Return the items that were ever written, deleted ones too, by id."""
    rows = connection.execute(select(items).where(items.c.item_id.in_(item_ids)))
    return {row.item_id: _known(row) for row in rows}


def insert_items(
    connection: Connection,
    contents: Sequence[ItemContent],
    revisions: Sequence[int],
    *,
    hidden: bool = False,
) -> dict[str, int]:
    """Store new items and return their numbers by id; `hidden` ones as if they were deleted."""
    new = {"created_us": time.time_ns() // 1000, "deleted": hidden}
    rows = [_row(c, r) | new for c, r in zip(contents, revisions, strict=True)]
    if not rows:
        return {}
    connection.execute(items.insert(), rows)
    statement = select(items.c.item_id, items.c.item_no)
    found = connection.execute(
        statement.where(items.c.item_id.in_([content.item_id for content in contents]))
    )
    return {row.item_id: row.item_no for row in found}


def update_items(
    connection: Connection, contents: Sequence[ItemContent], revisions: Sequence[int]
) -> None:
    """Replace every field of items; a deleted item is restored."""
    rows = [_row(c, r) | {"id": c.item_id} for c, r in zip(contents, revisions, strict=True)]
    if rows:
        rows.sort(key=itemgetter("id"))
        names = [name for name in rows[0] if name not in ("id", "item_id")]
        statement = update(items).where(items.c.item_id == bindparam("id"))
        statement = statement.values({name: bindparam(name) for name in names})
        for row in rows:
            row.pop("item_id")
        connection.execute(statement, rows)


def touch_items(
    connection: Connection, revisions: Mapping[int, int], *, deleted: bool | None = None
) -> None:
    """Give items new revisions, by number; with `deleted`, also mark them as deleted or not."""
    if not revisions:
        return
    values: dict[str, Any] = {"revision": bindparam("new")}
    if deleted is not None:
        values["deleted"] = deleted
    statement = update(items).where(items.c.item_no == bindparam("number")).values(values)
    rows = [{"number": number, "new": new} for number, new in sorted(revisions.items())]
    connection.execute(statement, rows)


def changes_since(connection: Connection, since: int, fingerprint: str, limit: int) -> ItemPage:
    """Return items that changed after a revision, deleted ones too, by revision."""
    statement = _with_text(fingerprint).where(items.c.revision > since)
    return _page(connection, statement, items.c.revision, limit)


def list_items(connection: Connection, after_no: int, limit: int) -> ItemPage:
    """Return items that are not deleted, by number, from just after one."""
    statement = select(items).where(items.c.item_no > after_no, ~items.c.deleted)
    return _page(connection, statement, items.c.item_no, limit)


def _page(connection: Connection, statement: Any, key: Any, limit: int) -> ItemPage:
    """Read up to `limit` items in the order of a unique key, fewer where they are large.

    The first read shows how large the items are; the next one takes as many as still fit.
    """
    found: list[KnownItem] = []
    num_bytes, wanted = 0, min(limit, _FIRST_READ)
    while True:
        after = [] if not found else [key > getattr(found[-1], key.name)]
        rows = connection.execute(statement.where(*after).order_by(key).limit(wanted + 1))
        read = [_known(row) for row in rows]
        found += read[:wanted]
        num_bytes += sum(_text_bytes(item.content) for item in read[:wanted])
        room = min(limit - len(found), (_PAGE_BYTES - num_bytes) * len(found) // (num_bytes + 1))
        if len(read) <= wanted or room <= 0:
            return ItemPage(found, more=len(read) > wanted)
        wanted = room


def items_by_number(connection: Connection, item_nos: Collection[int]) -> dict[int, KnownItem]:
    """Return items by number."""
    rows = connection.execute(select(items).where(items.c.item_no.in_(item_nos)))
    return {row.item_no: _known(row) for row in rows}


def text_lengths(connection: Connection, item_nos: Collection[int]) -> dict[int, int]:
    """Return the number of characters of each item's title and description."""
    length = func.length(items.c.title) + func.length(items.c.description)
    rows = connection.execute(select(items.c.item_no, length).where(items.c.item_no.in_(item_nos)))
    return {row[0]: row[1] for row in rows}


def item_texts_by_number(
    connection: Connection, item_nos: Collection[int], fingerprint: str
) -> list[ItemText]:
    """Return what the vectors of items are made of, deleted ones too."""
    given = given_table(connection.dialect.name, {"item_no": BigInteger()})
    on = and_(item_texts.c.item_no == items.c.item_no, item_texts.c.fingerprint == fingerprint)
    statement = (
        select(items.c.item_no, items.c.item_id, item_texts.c.vector)
        .join(given, given.c.item_no == items.c.item_no)
        .join(item_texts, on, isouter=True)
    )
    rows = connection.execute(statement, given_parameters([(n,) for n in item_nos]))
    return [ItemText(*row) for row in rows]


def text_hashes(
    connection: Connection, item_nos: Collection[int], fingerprint: str
) -> dict[int, bytes]:
    """Return the hash of the text behind each stored vector, by number."""
    statement = select(item_texts.c.item_no, item_texts.c.content_hash).where(
        item_texts.c.item_no.in_(item_nos), item_texts.c.fingerprint == fingerprint
    )
    return {row.item_no: row.content_hash for row in connection.execute(statement)}


def store_texts(connection: Connection, revision: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store text vectors, and give their items the revisions after `revision`.

    A row has item_no, fingerprint, content_hash and vector. The transaction has locked the
    catalogue's revision.
    """
    if not rows:
        return
    statement = insert(connection.dialect.name, item_texts)
    statement = statement.on_conflict_do_update(
        index_elements=[item_texts.c.item_no, item_texts.c.fingerprint],
        set_={
            "content_hash": statement.excluded.content_hash,
            "vector": statement.excluded.vector,
        },
    )
    connection.execute(statement, sorted(rows, key=itemgetter("item_no", "fingerprint")))
    touch_items(connection, {row["item_no"]: revision + 1 + n for n, row in enumerate(rows)})
    set_revision(connection, revision + len(rows))


def drop_texts(connection: Connection, item_nos: Collection[int]) -> None:
    """Delete the vectors of items whose text changed: they are not those of the new text."""
    if item_nos:
        connection.execute(item_texts.delete().where(item_texts.c.item_no.in_(item_nos)))


def attribute_kind_table(connection: Connection) -> dict[str, str]:
    """Return the kind of every attribute that was ever written."""
    return {row.name: row.kind for row in connection.execute(select(attribute_kinds))}


def add_attribute_kinds(connection: Connection, kinds: Mapping[str, str]) -> None:
    """Remember the kinds of new attributes."""
    if kinds:
        rows = [{"name": name, "kind": kind} for name, kind in sorted(kinds.items())]
        connection.execute(attribute_kinds.insert(), rows)


def _with_text(fingerprint: str) -> Any:
    on = and_(item_texts.c.item_no == items.c.item_no, item_texts.c.fingerprint == fingerprint)
    return select(items, item_texts.c.vector).join(item_texts, on, isouter=True)


def _text_bytes(content: ItemContent) -> int:
    """About how much memory the texts of an item take, and at least 1."""
    texts = [content.item_id, content.title, content.description, *content.categories]
    for name, value in content.attributes.items():
        texts.append(name)
        texts += value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return 1 + sum(map(len, texts))


def _row(content: ItemContent, revision: int) -> dict[str, Any]:
    return content_row(content) | {"deleted": False, "revision": revision}


def content_row(content: ItemContent) -> dict[str, Any]:
    """Return what a client sets of an item, by column."""
    return {
        "item_id": content.item_id,
        "title": content.title,
        "description": content.description,
        "categories": content.categories,
        "attributes": content.attributes,
        "available": content.available,
        "available_from_us": content.available_from_us,
        "available_until_us": content.available_until_us,
    }


def _known(row: Any) -> KnownItem:
    content = ItemContent(
        row.item_id,
        row.title,
        row.description,
        list(row.categories),
        dict(row.attributes),
        row.available,
        row.available_from_us,
        row.available_until_us,
    )
    vector = getattr(row, "vector", None)
    return KnownItem(content, row.item_no, row.revision, row.deleted, vector, row.created_us)
