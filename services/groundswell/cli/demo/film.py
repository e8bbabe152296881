"""The demo's last scene: an item that no training saw, placed by its text alone."""

from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from groundswell.cli.demo.checks import check, until, wait_encoded
from groundswell.cli.demo.model import Model
from groundswell.cli.display import answers
from groundswell.client import GroundswellClient, item, recommend_request
from groundswell.ranker.v1.ranker_service_pb2 import RecommendResponse

FILM = item(
    "new-film",
    "Star Voyage: Return to the Frontier (1998)",
    categories=["Sci-Fi", "Adventure"],
)

_BATCH = 50
_DEPTH = 200
_NEIGHBOURS = 5
_SHOWN = 5


class _Placed(NamedTuple):
    user: int
    rank: int
    score: float


class NewFilm:
    """Adds the film to the running services and asks for whom it is near."""

    def __init__(self, console: Console, client: GroundswellClient, model: Model) -> None:
        self._console = console
        self._client = client
        self._model = model

    def show(self) -> None:
        """Raise CommandError when the film cannot be found by its neighbours and by users."""
        self._client.upsert_items([FILM])
        wait_encoded(self._client, self._console)
        until(
            lambda: self._client.similar_items(FILM.item_id, page_size=1),
            "the ranker has the new film",
        )
        answer = self._client.similar_items(FILM.item_id, page_size=_NEIGHBOURS)
        title = f"“{FILM.title}” ({', '.join(FILM.categories)}) is nearest to"
        self._console.print(Text(title), answers.similar_items(answer))
        check(len(answer.items) == _NEIGHBOURS, "the new film has too few neighbours")
        self._for_whom()

    def _for_whom(self) -> None:
        placed = self._placed()
        num_users = self._model.prepared.num_users
        check(bool(placed), f"the new film is among the first {_DEPTH} of no user")
        placed.sort(key=lambda each: (each.rank, -each.score))
        self._console.print(
            f"It is among the first {_DEPTH} of {self._num_items} items for {len(placed)} of "
            f"{num_users} users, there at rank {median(p.rank for p in placed):.0f} in the middle. "
            "It ranks highest for:"
        )
        kind = " or ".join(FILM.categories)
        table = answers.plain_table()
        for name in ("user", "rank", "score", f"{kind} among what they had"):
            table.add_column(name, justify="right")
        for each in placed[:_SHOWN]:
            share = self._model.share(FILM.categories, each.user)
            user_id = self._model.prepared.user_ids[each.user]
            table.add_row(user_id, str(each.rank), f"{each.score:.3f}", f"{share:.0%}")
        table.add_row("everyone", "", "", f"{self._model.share(FILM.categories):.0%}")
        self._console.print(table)

    @property
    def _num_items(self) -> int:
        return self._model.prepared.num_items + 1

    def _placed(self) -> list[_Placed]:
        """The users whose first items hold the film, and where."""
        prepared = self._model.prepared
        placed = []
        for start in range(0, prepared.num_users, _BATCH):
            users = range(start, min(start + _BATCH, prepared.num_users))
            asked = [
                recommend_request(
                    prepared.user_ids[user],
                    page_size=_DEPTH,
                    as_of=self._model.last_us(user) / 1e6 + 60,
                )
                for user in users
            ]
            answers = self._client.batch_recommend(asked)
            for user, answer in zip(users, answers, strict=True):
                place = _place(answer)
                if place is not None:
                    placed.append(_Placed(user, *place))
        return placed


def _place(answer: RecommendResponse) -> tuple[int, float] | None:
    for rank, each in enumerate(answer.recommendations, start=1):
        if each.item_id == FILM.item_id:
            return rank, each.score
    return None
