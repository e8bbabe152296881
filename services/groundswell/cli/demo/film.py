"""The demo's last scene: an item that no training saw, placed by its text alone."""

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from groundswell.cli.demo.model import Model
from groundswell.cli.demo.story import check, until, wait_encoded
from groundswell.cli.display import answers
from groundswell.client import GroundswellClient, item, recommend_request

FILM = item(
    "new-film",
    "Star Voyage: Return to the Frontier (1998)",
    categories=["Sci-Fi", "Adventure"],
)

_BATCH, _DEPTH = 50, 200
_NEIGHBOURS, _SHOWN = 5, 5


class _Place(NamedTuple):
    """The rank and the score of the film for a user."""

    user: int
    rank: int
    score: float


def show_new_film(console: Console, client: GroundswellClient, model: Model) -> None:
    """Add the film, and show its neighbours and the users that it suits.

    Raises CommandError when it has none.
    """
    client.upsert_items([FILM])
    wait_encoded(client, console)
    until(lambda: client.similar_items(FILM.item_id, page_size=1), "the ranker has the new film")
    answer = client.similar_items(FILM.item_id, page_size=_NEIGHBOURS)
    title = f"“{FILM.title}” ({', '.join(FILM.categories)}) is nearest to"
    console.print(Text(title), answers.similar_items(answer))
    check(len(answer.items) == _NEIGHBOURS, "the new film has too few neighbours")
    best_first = sorted(_places(client, model), key=lambda place: (place.rank, -place.score))
    _show_for_whom(console, model, best_first)


def _show_for_whom(console: Console, model: Model, places: list[_Place]) -> None:
    check(bool(places), f"the new film is among the first {_DEPTH} of no user")
    prepared = model.prepared
    console.print(
        f"It is among the first {_DEPTH} of {prepared.num_items + 1} items for {len(places)} of "
        f"{prepared.num_users} users, there at rank {median(p.rank for p in places):.0f} in the "
        "middle. It ranks highest for:"
    )
    table = answers.plain_table()
    kind = " or ".join(FILM.categories)
    for name in ("user", "rank", "score", f"{kind} among what they had"):
        table.add_column(name, justify="right")
    for user, rank, score in places[:_SHOWN]:
        share = f"{model.share(FILM.categories, user):.0%}"
        table.add_row(prepared.user_ids[user], str(rank), f"{score:.3f}", share)
    table.add_row("everyone", "", "", f"{model.share(FILM.categories):.0%}")
    console.print(table)


def _places(client: GroundswellClient, model: Model) -> Iterator[_Place]:
    """The rank and the score of the film for each user who gets it among the first items."""
    user_ids = model.prepared.user_ids
    for start in range(0, len(user_ids), _BATCH):
        users = range(start, min(start + _BATCH, len(user_ids)))
        asked = [
            recommend_request(user_ids[user], page_size=_DEPTH, as_of=model.last_s(user) + 60)
            for user in users
        ]
        for user, answer in zip(users, client.batch_recommend(asked), strict=True):
            for rank, each in enumerate(answer.recommendations, start=1):
                if each.item_id == FILM.item_id:
                    yield _Place(user, rank, each.score)
