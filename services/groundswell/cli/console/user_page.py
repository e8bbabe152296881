"""Gathers what the page about a subject shows; a part that fails is shown as its error."""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import Any

from groundswell.cli.console.lists import Lists, requests
from groundswell.cli.console.parts import PagePart, age, clock, moment, notes, part
from groundswell.cli.console.subject import Subject, item_or_none
from groundswell.cli.display.answers import FUSION_WEIGHT_SOURCES
from groundswell.client import GroundswellClient
from groundswell.common.v1.event_pb2 import Action, Event
from groundswell.common.v1.item_pb2 import Interest, Item
from groundswell.profile.v1.profile_service_pb2 import Profile
from groundswell.ranker.v1.ranker_service_pb2 import (
    GetInterestsResponse,
    RecommendResponse,
)

_NUM_EVENTS = 25
"""The title of each is looked up, by a call of its own."""
_NUM_INTERESTS = 100
_SHOWN_INTERESTS = 10


def user_page(
    client: GroundswellClient, pool: Executor, subject: Subject, size: int
) -> dict[str, Any]:
    """Ask the services side by side, and return what the template shows."""
    answers = pool.submit(client.batch_recommend, requests(subject, size))
    interests = pool.submit(
        client.interests,
        subject.user or None,
        session_id=subject.session or None,
        events=subject.events,
        num_interests=_NUM_INTERESTS,
        by_vector=True,
    )
    profile = pool.submit(client.get_profile, subject.user) if subject.user else None
    history = part(lambda: _history(client, pool, subject))
    lists = part(answers)
    return {
        "lists": lists if lists.value is None else PagePart(_list_facts(lists.value)),
        "interests": _interest_rows(part(interests)),
        "profile": None if profile is None else _profile_facts(part(profile)),
        "history": history,
    }


def _list_facts(answers: Sequence[RecommendResponse]) -> dict[str, Any]:
    served = answers[0]
    return {
        "browser": Lists(served, answers[1:]).for_browser(),
        "bundle_id": served.bundle_id,
        "variant": served.variant,
        "source": FUSION_WEIGHT_SOURCES.get(served.fusion_weight_source, ""),
        "notes": notes(served.degradations),
        "ages": [
            (name, age(span.ToTimedelta().total_seconds()))
            for name, span, is_set in (
                ("last event of the window", served.session_age, served.HasField("session_age")),
                ("last event of the profile", served.profile_age, served.HasField("profile_age")),
            )
            if is_set
        ],
    }


def _interest_rows(
    found: PagePart[GetInterestsResponse],
) -> PagePart[list[tuple[str, list[float | None]]]]:
    """A row for each of the most probable categories: fused, short and long probability."""
    if found.value is None:
        return PagePart(None, found.error)
    answer = found.value
    columns = [
        _by_category(one)
        for one in (answer.interests, answer.short_interests, answer.long_interests)
    ]
    best = {name for column in columns for name in islice(column, _SHOWN_INTERESTS // 2)}
    names = [*columns[0], *sorted(best - columns[0].keys())]
    shown = [name for n, name in enumerate(names) if n < _SHOWN_INTERESTS or name in best]
    return PagePart([(name, [column.get(name) for column in columns]) for name in shown])


def _by_category(interests: Sequence[Interest]) -> dict[str, float]:
    return {one.category: one.probability for one in interests}


def _profile_facts(found: PagePart[Profile]) -> PagePart[list[tuple[str, str]]]:
    if found.value is None:
        return PagePart(None, found.error)
    profile = found.value
    facts = [
        ("stored events", f"{profile.num_events:,}"),
        ("events in the long-term vector", f"{profile.num_covered_events:,}"),
        ("texts of the history", "some wait for the encoder" if profile.text_pending else "read"),
    ]
    if profile.HasField("covered_at"):
        facts.append(("texts last read", clock(profile.covered_at)))
    if profile.HasField("as_of"):
        facts.append(("database away; profile read", clock(profile.as_of)))
    return PagePart(facts)


def _history(
    client: GroundswellClient, pool: Executor, subject: Subject
) -> list[tuple[str, list[dict[str, str]]]]:
    """The newest events, newest first, by day (UTC); titles are looked up."""
    if subject.events is not None:
        events = subject.events[::-1]
    else:
        stored = client.list_events(subject.user, session_id=subject.session, page_size=_NUM_EVENTS)
        events = [one.event for one in islice(stored, _NUM_EVENTS)]
    ids = list(dict.fromkeys(event.item_id for event in events))
    items = dict(zip(ids, pool.map(partial(item_or_none, client), ids), strict=True))
    days: dict[str, list[dict[str, str]]] = {}
    for event in events:
        day = f"{moment(event.time):%A, %d %B %Y}"
        days.setdefault(day, []).append(_entry(event, items[event.item_id]))
    return list(days.items())


def _entry(event: Event, item: Item | None) -> dict[str, str]:
    return {
        "iso": f"{moment(event.time):%Y-%m-%dT%H:%M:%SZ}",
        "time": f"{moment(event.time):%H:%M}",
        "action": Action.Name(event.action).removeprefix("ACTION_").lower(),
        "value": f"{event.value:g}" if event.HasField("value") else "",
        "item": event.item_id,
        "title": (item.title if item else "") or event.item_id,
    }
