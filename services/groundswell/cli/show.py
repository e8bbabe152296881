"""How answers of the services look on a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from groundswell.common.v1.item_pb2 import Interest
from groundswell.ranker.v1 import ranker_service_pb2 as pb

_BAR_WIDTH = 30
_SOURCES = {
    pb.FUSION_WEIGHT_SOURCE_LEARNED: "learned",
    pb.FUSION_WEIGHT_SOURCE_CONSTANT: "the bundle's constant",
    pb.FUSION_WEIGHT_SOURCE_FORCED: "forced",
    pb.FUSION_WEIGHT_SOURCE_ONE_VIEW: "only one view is there",
}
_DEGRADATIONS = {
    pb.DEGRADATION_PROFILE_UNAVAILABLE: "the profile service did not answer: no long-term view",
    pb.DEGRADATION_SESSION_UNAVAILABLE: "the session service did not answer: no short-term view",
    pb.DEGRADATION_PROFILE_STALE: "the long-term view does not cover the newest events yet",
    pb.DEGRADATION_SEEN_INCOMPLETE: "seen items may be among these",
    pb.DEGRADATION_POPULARITY_FALLBACK: "not personalised: these are popular items",
    pb.DEGRADATION_USER_UNKNOWN: "the user is unknown",
    pb.DEGRADATION_NO_PROFILE: "there is no long-term view of the user yet",
    pb.DEGRADATION_PAGE_NOT_FILLED: "fewer items than asked for are left",
}


def recommendations(
    answer: pb.RecommendResponse, title: str = "", ranks_before: Mapping[str, int] | None = None
) -> RenderableType:
    """The items with their scores, α, and how the answer falls short.

    With the ranks that items had in another answer, it says how each has moved.
    """
    table = Table(title=title or None, title_justify="left", caption_justify="left")
    table.add_column("#", justify="right", style="dim")
    if ranks_before is not None:
        table.add_column("was", justify="right")
    _add_item_columns(table)
    for name in ("score", "short", "long"):
        table.add_column(name, justify="right")
    for rank, item in enumerate(answer.recommendations, start=1):
        scores = (item.score, item.short_score, item.long_score)
        was = [] if ranks_before is None else [str(ranks_before.get(item.item_id, "new"))]
        table.add_row(
            str(rank),
            *was,
            Text(item.item_id),
            Text(item.title),
            Text(", ".join(item.categories)),
            *(f"{score:.3f}" for score in scores),
        )
    return Group(table, Text(_fusion_weight(answer)), *_shortcomings(answer.degradations))


def interests(probabilities: Iterable[Interest], limit: int = 6) -> RenderableType:
    """A bar for each of the most probable categories."""
    table = Table.grid(padding=(0, 1))
    shown = list(probabilities)[:limit]
    highest = max((interest.probability for interest in shown), default=0.0)
    for interest in shown:
        bar = Bar(highest, 0, interest.probability, width=_BAR_WIDTH, color="cyan")
        table.add_row(Text(interest.category), bar, f"{interest.probability:6.1%}")
    return table


def similar_items(answer: pb.SimilarItemsResponse) -> RenderableType:
    """The neighbours of an item."""
    table = Table()
    table.add_column("#", justify="right", style="dim")
    _add_item_columns(table)
    table.add_column("similarity", justify="right")
    for rank, item in enumerate(answer.items, start=1):
        categories = Text(", ".join(item.categories))
        row = (str(rank), Text(item.item_id), Text(item.title), categories)
        table.add_row(*row, f"{item.similarity:.3f}")
    return table


def _add_item_columns(table: Table) -> None:
    table.add_column("item", style="dim", no_wrap=True)
    table.add_column("title", ratio=3, no_wrap=True)
    table.add_column("categories", ratio=2, style="cyan", no_wrap=True)


def _fusion_weight(answer: pb.RecommendResponse) -> str:
    source = _SOURCES.get(answer.fusion_weight_source)
    bundle = f"bundle {answer.bundle_id[:12]}"
    if source is None:
        return bundle
    return f"α = {answer.fusion_weight:.2f} ({source}), the share of the short-term view; {bundle}"


def _shortcomings(degradations: Sequence[pb.Degradation.ValueType]) -> list[Text]:
    return [
        Text(f"note: {_DEGRADATIONS.get(kind, pb.Degradation.Name(kind))}", style="yellow")
        for kind in degradations
    ]
