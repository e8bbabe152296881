"""Category stage: a page of items of each of a user's most probable categories."""

from dataclasses import dataclass, replace

from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.candidates import both_sets
from groundswell.ranker_service.stages.explain import Recommendations, explain
from groundswell.ranker_service.stages.gather import Gathered
from groundswell.serving.interests import top_interests

_MAX_TRIED = 60
"""Of the most probable categories; those without an item are left out."""
_NUM_POPULAR = 200
"""Items whose categories are those of a user of whom nothing is known."""


@dataclass(frozen=True)
class CategoryPage:
    """A category and its items."""

    category: str
    probability: float
    answer: Recommendations


async def category_pages(
    ranker: BundleRanker, ask: Ask, gathered: Gathered, one: RankInput, number: int
) -> list[CategoryPage]:
    """Rank within each of the most probable categories, from `one`, until `number` have items.

    An item comes once. Raises ResourceExhausted (OVERLOADED).
    """
    pages: list[CategoryPage] = []
    for category, probability in await _candidates(ranker, one):
        mask = await ranker.filters.allowed(_filter(category))
        within = replace(one, allowed=both_sets(one.allowed, mask))
        [ranked] = await ranker.rank([within])
        if not len(ranked.ids):
            continue
        pages.append(CategoryPage(category, probability, explain(ranker, ask, gathered, ranked)))
        if len(pages) == number:
            break
        one = one.without(ranked.ids)
    return pages


async def _candidates(ranker: BundleRanker, one: RankInput) -> list[tuple[str, float]]:
    """Return categories and their probabilities, the best first."""
    [known] = await ranker.rank([replace(one, k=0, controls=None)])
    if known.interests is not None:
        return top_interests(known.interests, ranker.manifest.categories, _MAX_TRIED)
    [popular] = await ranker.rank([replace(one, k=_NUM_POPULAR, controls=None)])
    found = (ranker.items.get(item_no) for item_no in popular.ids.tolist())
    names = dict.fromkeys(name for item in found if item is not None for name in item.categories)
    return [(name, 0.0) for name in names][:_MAX_TRIED]


def _filter(category: str) -> str:
    quoted = category.replace("'", "''")
    return f"array_contains(categories, '{quoted}')"
