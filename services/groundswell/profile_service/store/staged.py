"""Statements about staged items, which are prepared aside and become visible at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    cast,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)

from groundswell.profile_service.store.items import ItemContent, content_row, insert_items
from groundswell.profile_service.store.statements import insert
from groundswell.profile_service.store.tables import counters, items, staged_items, stages
from groundswell.serving.errors import NotFound

_SWITCH = "catalogue_switch"
_CONTENT = (
    "title",
    "description",
    "categories",
    "attributes",
    "available",
    "available_from_us",
    "available_until_us",
)
_TEXT = ("title", "description", "categories")


def stage(connection: Connection, name: str, contents: Sequence[ItemContent]) -> None:
    """Put items into a stage, in the place of those with the same ids."""
    rows = [{"stage": name, **content_row(content)} for content in contents]
    statement = insert(connection.dialect.name, staged_items)
    new = {column: statement.excluded[column] for column in _CONTENT}
    keys = [staged_items.c.stage, staged_items.c.item_id]
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=new),
        sorted(rows, key=lambda row: str(row["item_id"])),
    )


def add_hidden(connection: Connection, contents: Sequence[ItemContent]) -> dict[str, int]:
    """Store new items as deleted ones, so that they have numbers and get vectors; return the
    numbers by id."""
    return insert_items(connection, contents, [0] * len(contents), hidden=True)


def count_staged(connection: Connection, name: str) -> int:
    """Return how many items a stage has."""
    statement = select(func.count()).where(staged_items.c.stage == name)
    return connection.execute(statement).scalar_one()


def stage_kinds(connection: Connection, name: str) -> dict[str, str]:
    """Return the kinds of a stage's attributes that were new when they were staged."""
    kinds = connection.execute(select(stages.c.kinds).where(stages.c.stage == name)).scalar()
    return dict(kinds or {})


def set_stage(connection: Connection, name: str, kinds: Mapping[str, str], changed_us: int) -> None:
    """Note these kinds of a stage, and the time of its change."""
    values = {"kinds": dict(kinds), "changed_us": changed_us}
    statement = insert(connection.dialect.name, stages).values(stage=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["stage"], set_=values))


def stages_before(connection: Connection, before_us: int) -> list[str]:
    """Return the stages that have not changed since a time."""
    return list(
        connection.execute(select(stages.c.stage).where(stages.c.changed_us < before_us)).scalars()
    )


def drop(connection: Connection, name: str) -> int:
    """Delete a stage; return how many items it had."""
    connection.execute(delete(stages).where(stages.c.stage == name))
    return connection.execute(delete(staged_items).where(staged_items.c.stage == name)).rowcount


def rewritten(connection: Connection, name: str) -> list[int]:
    """Return the numbers of the items whose text a stage changes."""
    statement = select(items.c.item_no).join(staged_items, _same(name)).where(_differ(_TEXT))
    return list(connection.execute(statement.order_by(items.c.item_no)).scalars())


def show(connection: Connection, name: str, revision: int) -> int:
    """Give the items of a stage its contents, and the revisions that follow; return how many.

    Those that are stored so already are left as they are.
    """
    place = revision + func.row_number().over(order_by=items.c.item_no)
    changing = select(items.c.item_no, place.label("place"), *(staged_items.c[n] for n in _CONTENT))
    changing = changing.join(staged_items, _same(name))
    new = changing.where(or_(items.c.deleted, _differ(_CONTENT))).subquery("new")
    values: dict[str, Any] = {column: new.c[column] for column in _CONTENT}
    values |= {"deleted": False, "revision": new.c.place}
    changed = update(items).where(items.c.item_no == new.c.item_no)
    return connection.execute(changed.values(values)).rowcount


def delete_others(connection: Connection, name: str, revision: int) -> int:
    """Delete the items that a stage does not have, with the revisions that follow; return how
    many."""
    place = revision + func.row_number().over(order_by=items.c.item_no)
    going = select(items.c.item_no, place.label("place"))
    going = going.where(not_(items.c.deleted), ~exists().where(_same(name)))
    old = going.subquery("old")
    gone = update(items).where(items.c.item_no == old.c.item_no)
    return connection.execute(gone.values(deleted=True, revision=old.c.place)).rowcount


def set_switch(connection: Connection, revision: int) -> None:
    """Note that a stage was committed, in the transaction that locked the catalogue's revision."""
    statement = insert(connection.dialect.name, counters).values(name=_SWITCH, value=revision)
    newer = {"value": statement.excluded.value}
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=newer))


def switch_revision() -> ColumnElement[int]:
    """Select the revision after the last commit of a stage, or 0, as a column of another one."""
    switch = select(counters.c.value).where(counters.c.name == _SWITCH).scalar_subquery()
    return func.coalesce(switch, 0)


def check_there(connection: Connection, name: str) -> None:
    """Raise NotFound (STAGE_NOT_FOUND) for a stage without items."""
    if not count_staged(connection, name):
        raise NotFound("STAGE_NOT_FOUND", "stage names no stage with items", field="stage")


def _same(name: str) -> ColumnElement[bool]:
    return (staged_items.c.stage == name) & (staged_items.c.item_id == items.c.item_id)


def _differ(columns: Sequence[str]) -> ColumnElement[bool]:
    pairs = ((_comparable(items.c[n]), _comparable(staged_items.c[n])) for n in columns)
    return or_(*(one.is_distinct_from(other) for one, other in pairs))


def _comparable(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """JSON is compared as it is written, since PostgreSQL cannot compare it."""
    return cast(column, Text) if column.name in ("categories", "attributes") else column
