"""Reads whom a page is about: a user, an anonymous session, or a visitor with pasted items."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple, Unpack

import grpc

from groundswell.client import GroundswellClient, GroundswellError, event
from groundswell.client.requests import RecommendOptions, recommend_request
from groundswell.common.v1.event_pb2 import Event
from groundswell.common.v1.item_pb2 import Item
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest

MAX_LINES = 50
"""Pasted items are looked up one by one."""
MAX_SIZE = 100
_SIZE = 20
_BETWEEN_S = 60.0
"""Pasted items become events that are so far apart; the last one happens now."""


class MistakeError(Exception):
    """What a person filled in is wrong; the text says what."""


class Subject(NamedTuple):
    """Whom the lists are for: one of `user`, `session` and `events` is set."""

    user: str
    session: str
    events: list[Event] | None
    fields: dict[str, str]
    """What was filled in, as the pages' addresses repeat it."""

    def request(self, **options: Unpack[RecommendOptions]) -> RecommendRequest:
        """Ask for items for the subject."""
        return recommend_request(
            self.user or None, session_id=self.session or None, events=self.events, **options
        )


def subject_of(query: Mapping[str, str], client: GroundswellClient, pool: Executor) -> Subject:
    """Return whom a query names; raises MistakeError for none, several, and unknown items."""
    fields = {name: query.get(name, "").strip() for name in ("user", "session", "items")}
    given = {name: text for name, text in fields.items() if text}
    if len(given) != 1:
        raise MistakeError("Fill in one of the three: a user, a session, or recent items.")
    events = _events(found_items(fields["items"].splitlines(), client, pool))
    given["size"] = str(size_of(query))
    return Subject(fields["user"], fields["session"], events or None, given)


def size_of(query: Mapping[str, str]) -> int:
    """Return how many items a list shows."""
    text = query.get("size") or str(_SIZE)
    # Python refuses to read a number of thousands of digits.
    if not text.isdecimal() or len(text) > len(str(MAX_SIZE)) or not 1 <= int(text) <= MAX_SIZE:
        raise MistakeError(f"A list has 1 to {MAX_SIZE} items.")
    return int(text)


def found_items(lines: Iterable[str], client: GroundswellClient, pool: Executor) -> list[Item]:
    """Return the items whose ids or titles the lines are; raises MistakeError for unknown ones."""
    names = [line.strip() for line in lines if line.strip()]
    if len(names) > MAX_LINES:
        raise MistakeError(f"At most {MAX_LINES} items.")
    by_id = _looked_up(names, item_or_none, client, pool)
    by_title = _looked_up([name for name in names if by_id[name] is None], _titled, client, pool)
    found = [by_id[name] or by_title[name] for name in names]
    unknown = [name for name, item in zip(names, found, strict=True) if item is None]
    if unknown:
        raise MistakeError(f"No item has this id or title: {'; '.join(unknown)}")
    return [item for item in found if item is not None]


def _looked_up(
    names: Iterable[str],
    find: Callable[[GroundswellClient, str], Item | None],
    client: GroundswellClient,
    pool: Executor,
) -> dict[str, Item | None]:
    once = list(dict.fromkeys(names))
    return dict(zip(once, pool.map(partial(find, client), once), strict=True))


def item_or_none(client: GroundswellClient, item_id: str) -> Item | None:
    """Return an item of the catalogue; None where it has none of this id."""
    try:
        return client.get_item(item_id)
    except GroundswellError as error:
        if error.status in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
            return None
        raise


def _titled(client: GroundswellClient, title: str) -> Item | None:
    """Return the most popular item of a title, if it may be recommended."""
    literal = title.replace("'", "''")
    # A batch, since the lists of single calls are kept as shown to someone.
    request = recommend_request(
        events=[], filter=f"title = '{literal}'", trending=True, page_size=1, num_interests=0
    )
    (answer,) = client.batch_recommend([request])
    found = answer.recommendations
    return Item(item_id=found[0].item_id, title=found[0].title) if found else None


def _events(items: list[Item]) -> list[Event]:
    first = time.time() - _BETWEEN_S * (len(items) - 1)
    return [
        event("", item.item_id, "click", time=first + n * _BETWEEN_S)
        for n, item in enumerate(items)
    ]
