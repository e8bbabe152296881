"""Statements about the lists that were shown, and about the events that came of them."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    and_,
    case,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from groundswell.profile_service.store.statements import among, insert, one_of
from groundswell.profile_service.store.tables import events, items, shown_lists, users, visitors
from groundswell.serving.attribution import Attribution, Draw, id_at

NUM_BINS = 10
"""Fusion weights are counted by tenths."""
_ID_DIGITS = 32
_IDS_AT_ONCE = 5_000


class ShownList(NamedTuple):
    """A list as it is stored."""

    made: Attribution
    user_no: int | None
    item_nos: bytes
    confirmed: bool


class Span(NamedTuple):
    """The lists that were answered from one time up to another, in microseconds since 1970."""

    since_us: int
    until_us: int
    confirmed_only: bool = False
    draw: Draw | None = None
    """Only lists whose fusion weight was chosen so; None: all."""

    @property
    def ids(self) -> tuple[str, str]:
        """The lowest id that one of them may have, and the lowest id above theirs."""
        return id_at(self.since_us // 1000), id_at(self.until_us // 1000)

    def holds(self) -> ColumnElement[bool]:
        """Whether a row of `shown_lists` is one of them."""
        c = shown_lists.c
        first, last = self.ids
        rules = [c.recommendation_id >= first, c.recommendation_id < last]
        if self.confirmed_only:
            rules.append(c.confirmed)
        if self.draw is not None:
            rules.append(c.draw == self.draw)
        return and_(*rules)


class ListCount(NamedTuple):
    """Lists that are alike, and their number."""

    bundle_id: str
    variant: str
    tenth: int | None
    num_items: int
    num_lists: int


def item_numbers(connection: Connection, item_ids: Collection[str]) -> dict[str, int]:
    """Return the numbers of the items that were ever written, by id."""
    statement = select(items.c.item_id, items.c.item_no)
    statement = statement.where(among(connection.dialect.name, items.c.item_id, "ids"))
    numbers: dict[str, int] = {}
    ids = sorted(item_ids)
    for start in range(0, len(ids), _IDS_AT_ONCE):
        rows = connection.execute(statement, {"ids": ids[start : start + _IDS_AT_ONCE]})
        numbers.update((row.item_id, row.item_no) for row in rows)
    return numbers


def store_lists(connection: Connection, lists: Sequence[ShownList]) -> None:
    """Store lists. One that is stored already gets what it lacks: a user, or what was shown.

    All statements here lock lists in the order of their ids, so there is no deadlock.
    """
    rows = [
        {
            **made._asdict(),
            "draw": int(made.draw),
            "user_no": user_no,
            "item_nos": item_nos,
            "confirmed": confirmed,
        }
        for made, user_no, item_nos, confirmed in sorted(
            lists, key=lambda one: one.made.recommendation_id
        )
    ]
    if rows:
        connection.execute(_store(connection.dialect.name), rows)


@cache
def _store(dialect: str) -> postgresql.Insert:
    statement = insert(dialect, shown_lists)
    old, new = shown_lists.c, statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[old.recommendation_id],
        set_={
            "user_no": func.coalesce(old.user_no, new.user_no),
            "item_nos": case((new.confirmed, new.item_nos), else_=old.item_nos),
            "confirmed": or_(old.confirmed, new.confirmed),
        },
    )


def give_lists(connection: Connection, session_no: int, user_no: int, erased_us: int) -> None:
    """Give the lists of a session to a user; delete those up to an erasure of the user."""
    number = shown_lists.c.recommendation_id
    if erased_us > 0:
        lock_lists(connection, [session_no])
        old = delete(shown_lists).where(shown_lists.c.user_no == session_no)
        connection.execute(old.where(number < id_at(erased_us // 1000 + 1)))
    mine = select(number).where(shown_lists.c.user_no == session_no).order_by(number)
    given = update(shown_lists).where(number.in_(mine.with_for_update()))
    connection.execute(given.values(user_no=user_no))


def lock_lists(connection: Connection, user_nos: Collection[int]) -> None:
    """Lock the lists of some users until the transaction ends, so that it can delete them."""
    number = shown_lists.c.recommendation_id
    mine = (
        select(number)
        .where(one_of(connection.dialect.name, shown_lists.c.user_no, user_nos))
        .order_by(number)
    )
    connection.execute(mine.with_for_update())


def drop_lists(connection: Connection, before_us: int, limit: int) -> int:
    """Delete some of the lists that were answered before a time; return how many.

    A user of whom nothing else is known leaves with the last list.
    """
    number = shown_lists.c.recommendation_id
    due = select(number).where(number < id_at(before_us // 1000)).order_by(number).limit(limit)
    drop = delete(shown_lists).where(number.in_(due.with_for_update()))
    user_nos = connection.execute(drop.returning(shown_lists.c.user_no)).scalars().all()
    drop_unknown(connection, {user_no for user_no in user_nos if user_no is not None})
    return len(user_nos)


def drop_unknown(connection: Connection, user_nos: Collection[int]) -> None:
    """Delete those of some users who have no list, never had an event, and have no session."""
    number, linked = users.c.user_no, visitors.c.linked_to
    unknown = and_(
        users.c.last_sequence == 0,
        ~exists().where(shown_lists.c.user_no == number),
        ~exists().where(visitors.c.user_no == number),
        ~exists().where(linked == number),
    )
    # Others lock users before lists, so this must not wait for one: who is locked stays.
    found = select(number).where(number.in_(user_nos), unknown).with_for_update(skip_locked=True)
    locked = connection.execute(found).scalars().all()
    # Asked again, now that they are locked: a write may have ended since the statement began.
    if locked:
        connection.execute(delete(users).where(number.in_(locked), unknown))


def lists_of_user(
    connection: Connection, user_no: int, since_us: int, limit: int
) -> Sequence[bytes]:
    """Return the items of a user's lists since a time, of at most so many of the newest ones."""
    c = shown_lists.c
    statement = select(c.item_nos).where(c.user_no == user_no)
    statement = statement.where(c.recommendation_id >= id_at(since_us // 1000))
    found = connection.execute(statement.order_by(c.recommendation_id.desc()).limit(limit))
    return found.scalars().all()


def count_lists(connection: Connection, span: Span) -> list[ListCount]:
    """Count the lists that are alike in bundle, variant, tenth of the fusion weight and length."""
    c = shown_lists.c
    alike = (c.bundle_id, c.variant, _tenth().label("tenth"), func.length(c.item_nos).label("size"))
    statement = select(*alike, func.count()).where(span.holds()).group_by(*alike)
    return [
        ListCount(bundle_id, variant, tenth, size // 8, num_lists)
        for bundle_id, variant, tenth, size, num_lists in connection.execute(statement)
    ]


def _tenth() -> ColumnElement[int]:
    """Select the tenth that a fusion weight lies in; null where there is none."""
    weight = shown_lists.c.fusion_weight
    steps = [(weight < (n + 1) / NUM_BINS, n) for n in range(NUM_BINS)]
    return case((weight.is_(None), None), *steps, else_=NUM_BINS - 1)


Place = tuple[str, int, int]
"""Where a page of events ends: the list that the last one came of, its user and its sequence."""


class ListEvents(NamedTuple):
    """Which events are wanted: those of the lists of a span, or of some of its lists."""

    span: Span
    ids: Sequence[str] | None = None
    """The ids of the lists; None: all."""


def attributed_events(
    connection: Connection, wanted: ListEvents, after: Place | None, limit: int
) -> Sequence[Any]:
    """Return a page of the events that came of lists, with what is stored of the lists.

    Rows of (recommendation_id, user_no, sequence, item_no, action, attribution_token) and of a
    list, in the order of the first three; `tenth` is that of its fusion weight. The tokens are not
    checked.
    """
    place = (_named(), events.c.user_no, events.c.sequence)
    of_event = (events.c.item_no, events.c.action, events.c.attribution_token)
    c = shown_lists.c
    of_list = (c.recommendation_id, c.item_nos, c.bundle_id, c.variant, _tenth().label("tenth"))
    statement = (
        select(*place[1:], *of_event, *of_list)
        .select_from(events)
        .join(shown_lists, c.recommendation_id == place[0])
        # The first condition is that of the index.
        .where(events.c.attribution_token != literal_column("''"), wanted.span.holds())
    )
    parameters = {}
    if wanted.ids is None:
        first, last = wanted.span.ids
        statement = statement.where(place[0] >= first, place[0] < last)
    else:
        statement = statement.where(among(connection.dialect.name, place[0], "ids"))
        parameters["ids"] = wanted.ids
    if after is not None:
        # The first one is what the index is searched with.
        statement = statement.where(place[0] >= after[0], tuple_(*place) > tuple_(*after))
    return connection.execute(statement.order_by(*place).limit(limit), parameters).all()


def _named() -> ColumnElement[str]:
    """Select the id of the list that an event names, as the index has it."""
    from_to = [literal_column(str(number), Integer) for number in (1, _ID_DIGITS)]
    return func.substr(events.c.attribution_token, *from_to, type_=Text)


def drawn_lists(
    connection: Connection, span: Span, after: tuple[int | None, str], limit: int
) -> Sequence[Any]:
    """Return a page of a time's lists: (recommendation_id, user_no, fusion_weight, propensity).

    They are in the order of users, and of ids; those of nobody come alone, after (None, id).
    """
    c = shown_lists.c
    statement = select(c.recommendation_id, c.user_no, c.fusion_weight, c.propensity)
    user_no, number = after
    if user_no is None:
        follows = and_(c.user_no.is_(None), c.recommendation_id > number)
    else:
        follows = tuple_(c.user_no, c.recommendation_id) > tuple_(user_no, number)
    statement = statement.where(span.holds(), follows)
    return connection.execute(statement.order_by(c.user_no, c.recommendation_id).limit(limit)).all()
