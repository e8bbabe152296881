"""Answers of the services as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.bar import Bar
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from groundswell.common.v1.item_pb2 import Interest
from groundswell.ranker.v1 import ranker_service_pb2 as pb

_BAR_WIDTH = 30
FUSION_WEIGHT_SOURCES = {
    pb.FUSION_WEIGHT_SOURCE_LEARNED: "learned",
    pb.FUSION_WEIGHT_SOURCE_CONSTANT: "constant",
    pb.FUSION_WEIGHT_SOURCE_FORCED: "forced",
    pb.FUSION_WEIGHT_SOURCE_ONE_VIEW: "only one vector exists",
}
_CHANGES = {
    pb.CHANGE_REQUEST: "the request is another one",
    pb.CHANGE_BUNDLE: "the bundle is not loaded any more",
    pb.CHANGE_CATALOGUE: "the catalogue",
    pb.CHANGE_EVENTS: "the user's events",
    pb.CHANGE_POPULARITY: "what is popular now",
    pb.CHANGE_IMPRESSIONS: "what the user was shown",
    pb.CHANGE_DEGRADATIONS: "how the answer falls short",
    pb.CHANGE_OTHER: "something that is not recorded, such as the availability of items",
}
DEGRADATIONS = {
    pb.DEGRADATION_PROFILE_UNAVAILABLE: "the profile service did not answer: no long-term vector",
    pb.DEGRADATION_SESSION_UNAVAILABLE: "the session service did not answer: no short-term vector",
    pb.DEGRADATION_SESSION_STALE: "the newest events could not be read and may be missing",
    pb.DEGRADATION_PROFILE_STALE: "the long-term vector may lack the newest events",
    pb.DEGRADATION_SEEN_INCOMPLETE: "items that the user has seen may be among these",
    pb.DEGRADATION_POPULARITY_FALLBACK: "not personalised: these are popular items",
    pb.DEGRADATION_USER_UNKNOWN: "the user is unknown",
    pb.DEGRADATION_NO_PROFILE: "the user has no long-term vector yet",
    pb.DEGRADATION_IMPRESSIONS_UNAVAILABLE: "the limits on impressions were not kept",
    pb.DEGRADATION_INDEX_UNAVAILABLE: "Milvus did not answer: popular items were compared",
    pb.DEGRADATION_PAGE_NOT_FILLED: "fewer items than requested were found",
}


def recommendations(
    answer: pb.RecommendResponse, title: str = "", ranks_before: Mapping[str, int] | None = None
) -> RenderableType:
    """The items with their scores, α, and the degradations of the answer.

    With `ranks_before`, the ranks in an earlier answer, each row also shows its earlier rank.
    """
    table = _item_table("#" if ranks_before is None else "# was", ("score", "short", "long"), title)
    for rank, item in enumerate(answer.recommendations, start=1):
        scores = (item.score, item.short_score, item.long_score)
        was = "" if ranks_before is None else f" {ranks_before.get(item.item_id, 'new'):>3}"
        table.add_row(
            f"{rank}{was}",
            Text(item.item_id),
            cut_text(item.title),
            cut_text(", ".join(item.categories)),
            *(f"{score:.3f}" for score in scores),
        )
    return Group(table, Text(_fusion_weight(answer)), *degradation_notes(answer.degradations))


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
    table = _item_table("#", ("similarity",))
    for rank, item in enumerate(answer.items, start=1):
        categories = cut_text(", ".join(item.categories))
        row = (str(rank), Text(item.item_id), cut_text(item.title), categories)
        table.add_row(*row, f"{item.similarity:.3f}")
    return table


def _item_table(rank: str, numbers: Sequence[str], title: str = "") -> Table:
    table = plain_table(title)
    table.add_column(rank, justify="right", style="dim", no_wrap=True)
    table.add_column("item", style="dim", no_wrap=True)
    table.add_column("title")
    table.add_column("categories", style="cyan")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def plain_table(title: str = "") -> Table:
    """A table without frames, which leaves more room in a narrow terminal."""
    return Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)


def cut_text(text: str) -> Text:
    """A cell that is cut to the width of its column, which must not set no_wrap."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _fusion_weight(answer: pb.RecommendResponse) -> str:
    source = FUSION_WEIGHT_SOURCES.get(answer.fusion_weight_source)
    bundle = f"bundle {answer.bundle_id[:12]}"
    if source is None:
        return bundle
    return (
        f"α = {answer.fusion_weight:.2f} ({source}), the share of the short-term vector · {bundle}"
    )


def degradation_notes(degradations: Sequence[pb.Degradation.ValueType]) -> list[Text]:
    """How an answer falls short, a line each."""
    return [
        Text(f"note: {DEGRADATIONS.get(kind, pb.Degradation.Name(kind))}", style="yellow")
        for kind in degradations
    ]


def changes(answer: pb.ReplayRecommendResponse) -> list[str]:
    """What an answer read that is another one now, a line for each."""
    lines = []
    for one in answer.changes:
        name = _CHANGES[one.change]
        values = f" ({one.before} then, {one.now} now)" if one.before or one.now else ""
        lines.append(f"{name}{values}")
    return lines
