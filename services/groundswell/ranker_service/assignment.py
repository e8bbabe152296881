"""Chooses the bundle and the variant that each request is answered with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from groundswell.artifacts.variants import Variants
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.bundles import RankerBundles
from groundswell.ranker_service.requests import Ask
from groundswell.serving.telemetry import count


class AssignedRankers:
    """Gives each ask its variant, and the rankers that may answer it.

    `variants` returns what the folder of bundles has now.
    """

    def __init__(self, bundles: RankerBundles, variants: Callable[[], Variants]) -> None:
        self._bundles = bundles
        self._variants = variants

    def of(self, ask: Ask) -> Ask:
        """Return the ask with what its user's variant sets; the same one for a user without.

        An ask that has its variant already stays as it is.
        """
        variants = self._variants()
        if not variants.variants or ask.variant or ask.bundle_id or not ask.user_id:
            return ask
        one = variants.of(ask.user_id)
        if one is None or (one.fusion_weight is not None and ask.fusion_weight is not None):
            return ask
        if one.bundle is not None and self._bundles.held.find(one.bundle) is None:
            count("variants_without_bundle")
            return ask
        weight = ask.fusion_weight if one.fusion_weight is None else one.fusion_weight
        return replace(ask, variant=one, fusion_weight=weight)

    @contextmanager
    def rankers(self, ask: Ask) -> Iterator[list[BundleRanker]]:
        """Give the rankers for an assigned ask, the first choice first.

        Raises FailedPrecondition (BUNDLE_NOT_LOADED) and Unavailable (NO_BUNDLE).
        """
        with self._bundles.in_use(bundle_of(ask), alone=bool(ask.bundle_id)) as rankers:
            yield rankers


def bundle_of(ask: Ask) -> str:
    """Return the bundle that an assigned ask is for; empty for the one in use."""
    return ask.bundle_id or (ask.variant and ask.variant.bundle) or ""


def by_bundle(asks: Sequence[Ask]) -> list[list[int]]:
    """Return the places of assigned asks, those of the same bundle together."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for place, ask in enumerate(asks):
        groups.setdefault((bundle_of(ask), bool(ask.bundle_id)), []).append(place)
    return list(groups.values())
