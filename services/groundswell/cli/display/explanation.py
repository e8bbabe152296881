"""The explanation of an item in a user's page, or outside of it, for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from groundswell.cli.display.answers import cut_text, degradation_notes, plain_table
from groundswell.ranker.v1 import ranker_service_pb2 as pb

OMISSIONS = {
    pb.OMISSION_UNAVAILABLE: "it may not be recommended now",
    pb.OMISSION_NOT_ENCODED: "it has no vector yet",
    pb.OMISSION_DENIED: "the request denies it",
    pb.OMISSION_FILTER: "it does not pass the filter",
    pb.OMISSION_DISLIKED: "the request dislikes it",
    pb.OMISSION_LIKED: "the request likes it, so it counts as seen",
    pb.OMISSION_SHOWN: "a page before has shown it",
    pb.OMISSION_SEEN_IN_HISTORY: "the user has seen it",
    pb.OMISSION_SHOWN_TOO_OFTEN: "the user was shown it too often",
    pb.OMISSION_SEEN_IN_SESSION: "the user has seen it in this session",
    pb.OMISSION_MIN_RELEVANCE: "it is not relevant enough for the request",
    pb.OMISSION_CATEGORY_FULL: "its category is full",
    pb.OMISSION_DISPLACED: "the controls of the request put others in its place",
    pb.OMISSION_RANK: "enough items have higher scores",
}


def explanation(answer: pb.ExplainItemResponse) -> RenderableType:
    """The place of the item, its ranks, and what of the user's past speaks for it."""
    pulls = [
        _pulls("from the window", answer.window_pulls),
        _pulls("from the history", answer.history_pulls),
    ]
    pulls += [_effects(answer)]
    shown = [table for table in pulls if table.row_count]
    return Group(
        Text(f"{answer.item_id} · {answer.title}", style="bold"),
        Text(_verdict(answer)),
        _ranks(answer),
        *shown,
        *degradation_notes(answer.degradations),
    )


def _verdict(answer: pb.ExplainItemResponse) -> str:
    if answer.HasField("place"):
        return f"place {answer.place}"
    return f"not in the page: {OMISSIONS.get(answer.omission, pb.Omission.Name(answer.omission))}"


def _ranks(answer: pb.ExplainItemResponse) -> Table:
    table = plain_table()
    table.add_column("ranked by")
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    for name, found in (
        ("the short-term vector alone", answer.short),
        ("the long-term vector alone", answer.long),
        (f"both, α = {answer.fusion_weight:.2f}", answer.fused),
    ):
        if found.rank:
            table.add_row(name, f"{found.rank:,} of {answer.num_items:,}", f"{found.score:.3f}")
    return table


def _effects(answer: pb.ExplainItemResponse) -> Table:
    table = plain_table("what the long-term vector would lose without it")
    table.add_column("when", style="dim", no_wrap=True)
    table.add_column("what")
    table.add_column("effect", justify="right", no_wrap=True)
    for event in answer.event_pulls:
        when = f"{event.time.ToDatetime():%Y-%m-%d}"
        table.add_row(when, cut_text(event.title or event.item_id), f"{event.effect:.3f}")
    for chunk in answer.chunk_pulls:
        when = f"{chunk.last_event_time.ToDatetime():%Y-%m-%d}"
        table.add_row(when, "the chunk of events until then", f"{chunk.effect:.3f}")
    return table


def _pulls(title: str, pulls: Sequence[pb.Pull]) -> Table:
    table = plain_table(title)
    table.add_column("item", style="dim", no_wrap=True)
    table.add_column("title")
    for name in ("neighbour score", "similarity"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in pulls:
        numbers = (f"{one.neighbour_score:.3f}", f"{one.similarity:.3f}")
        table.add_row(Text(one.item_id), cut_text(one.title), *numbers)
    return table
