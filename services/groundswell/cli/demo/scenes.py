"""The second half of the demo: it fills the services, shows recommendations, and checks them."""

from datetime import UTC, datetime

import numpy as np
from rich.table import Table
from rich.text import Text

from groundswell.cli.demo.film import show_new_film
from groundswell.cli.demo.model import Model
from groundswell.cli.demo.people import OtherTaste, other_taste
from groundswell.cli.demo.story import Story, check, until, wait_encoded
from groundswell.cli.display import answers
from groundswell.cli.imports.events import import_log
from groundswell.cli.imports.items import import_catalogue
from groundswell.client import GroundswellClient, event
from groundswell.common.v1.event_pb2 import EVENT_STATUS_ACCEPTED, Event
from groundswell.features.actions import ACTIONS
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2

PAGE = 10

_LAST_EVENTS = 5
_SOON_S = 60.0
_LATER_S = 24 * 3600.0
_RATING = 5.0


class Scenes:
    """The scenes of the demo, over services that hold no data yet."""

    def __init__(self, story: Story, client: GroundswellClient, model: Model) -> None:
        self._chapter = story.chapter
        self._console = story.console
        self._client = client
        self._model = model

    def play(self) -> None:
        """Fill the services and show every scene. Raises CommandError at the first wrong answer."""
        self._fill()
        for user in self._model.people:
            self._show_user(user)
        user = self._model.people[-1]
        self._chapter(f"User {self._id(user)} turns to something else")
        self._turn(user, other_taste(self._model.prepared, user))
        self._chapter("A film that no training saw")
        show_new_film(self._console, self._client, self._model)

    def _fill(self) -> None:
        self._chapter("Catalogue and log go into the services")
        written = import_catalogue(self._client, self._console, self._model.files.items)
        journal = self._model.folder / "import.json"
        import_log(self._client, self._console, self._model.files.events, journal, "the demo")
        check(len(written) >= self._model.prepared.num_items, "the catalogue is not complete")
        wait_encoded(self._client, self._console)
        newest = self._model.prepared.item_ids[-1]
        until(lambda: self._client.similar_items(newest, page_size=1), "the ranker has the items")

    def _id(self, user: int) -> str:
        return self._model.prepared.user_ids[user]

    def _show_user(self, user: int) -> None:
        num_events = np.diff(self._model.prepared.offsets)[user]
        self._chapter(f"User {self._id(user)}: {num_events} events")
        answer = self._recommend(user, self._model.last_s(user) + _SOON_S)
        check(not answer.degradations, f"the answer is not a full one: {answer.degradations}")
        self._console.print(self._last_events(user))
        self._console.print("Interests now:", answers.interests(answer.interests))
        self._console.print(answers.recommendations(answer, "Recommended"))

    def _last_events(self, user: int) -> Table:
        table = answers.plain_table("Last events")
        for name in ("when", "what", "title", "categories"):
            table.add_column(name, no_wrap=name in ("when", "what"))
        stored = self._client.list_events(self._id(user), page_size=_LAST_EVENTS)
        for _, entry in zip(range(_LAST_EVENTS), stored, strict=False):
            moment = datetime.fromtimestamp(entry.event.time.seconds, UTC)
            texts = map(answers.cut_text, self._model.item(entry.event.item_id))
            table.add_row(f"{moment:%Y-%m-%d %H:%M}", _what(entry.event), *texts)
        return table

    def _recommend(self, user: int, as_of: float) -> ranker_pb2.RecommendResponse:
        """Ask for a page, and check that it is personalised, full and without seen items."""
        answer = self._client.recommend(self._id(user), page_size=PAGE, as_of=as_of)
        seen = self._model.seen_by(user)
        ids = [item.item_id for item in answer.recommendations]
        check(len(ids) == PAGE, f"{len(ids)} of {PAGE} items were recommended")
        check(not seen.intersection(ids), "items that the user has seen were recommended")
        check(
            ranker_pb2.DEGRADATION_POPULARITY_FALLBACK not in answer.degradations,
            f"the answer to user {self._id(user)} is not personalised",
        )
        total = sum(interest.probability for interest in answer.interests)
        check(abs(total - 1) < 1e-3, f"the interests add up to {total}")
        return answer

    def _turn(self, user: int, other: OtherTaste) -> None:
        start = self._model.last_s(user) + _LATER_S
        before = self._recommend(user, start)
        vector = self._client.encode_session(self._id(user)).vector.values
        new = [
            event(
                self._id(user),
                self._model.prepared.item_ids[row],
                self._model.action,
                value=_RATING if self._model.action == "rate" else None,
                time=start + 60 * (number + 1),
            )
            for number, row in enumerate(other.items)
        ]
        results = self._client.record_events(new)
        accepted = [result.status == EVENT_STATUS_ACCEPTED for result in results]
        check(all(accepted), f"new events were not accepted: {results}")
        titles = ", ".join(self._model.item(each.item_id)[0] for each in new)
        self._console.print(Text(f"Three new events, all {other.category}: {titles}"))
        after = self._recommend(user, start + 60 * len(new) + _SOON_S)
        moved = self._client.encode_session(self._id(user)).vector.values != vector
        check(moved, "the short-term vector did not move")
        self._compare(other.category, before, after)

    def _compare(
        self,
        category: str,
        before: ranker_pb2.RecommendResponse,
        after: ranker_pb2.RecommendResponse,
    ) -> None:
        rank_before = {item.item_id: n for n, item in enumerate(before.recommendations, start=1)}
        ids_after = [item.item_id for item in after.recommendations]
        check(ids_after != list(rank_before), "the list did not change")
        self._console.print(answers.recommendations(after, "Recommended after them", rank_before))
        table = answers.plain_table()
        for name in ("", "before", "after"):
            table.add_column(name)
        pair = (before, after)
        chances = [_probability(answer, category) for answer in pair]
        table.add_row(f"P({category})", *(f"{chance:.1%}" for chance in chances))
        counts = (str(_count(answer, category)) for answer in pair)
        table.add_row(f"{category} among the {PAGE}", *counts)
        weights = (f"{answer.fusion_weight:.2f}" for answer in pair)
        table.add_row("α, the share of the short-term vector", *weights)
        self._console.print(table)
        check(
            chances[1] > chances[0], f"three events of {category} did not raise the interest in it"
        )


def _what(stored: Event) -> str:
    name = ACTIONS[stored.action - 1]
    return f"{name} {stored.value:g}" if stored.HasField("value") else name


def _probability(answer: ranker_pb2.RecommendResponse, category: str) -> float:
    return sum(i.probability for i in answer.interests if i.category == category)


def _count(answer: ranker_pb2.RecommendResponse, category: str) -> int:
    return sum(category in item.categories for item in answer.recommendations)
