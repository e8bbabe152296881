"""Makes an answer again from its attribution token and its request, and says what has changed."""

from collections.abc import Callable
from dataclasses import replace

from groundswell.ranker.v1.ranker_service_pb2 import Change, ChangedInput, Degradation
from groundswell.ranker_service.bundles import RankerBundles
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.serving.attribution import AnswerInputs, Attribution, AttributionTokens, Draw

_NONE = "none"


def as_then(ask: Ask, made: Attribution, inputs: AnswerInputs, bundles: RankerBundles) -> Ask:
    """Return the ask with what the service chose then; with the bundle of then, if it is loaded."""
    is_loaded = bundles.held.find(made.bundle_id) is not None
    weight = ask.fusion_weight
    if weight is None and (inputs.is_forced or made.draw is not Draw.NONE):
        weight = made.fusion_weight
    controls = None if ask.controls is None else replace(ask.controls, seed=inputs.seed)
    return replace(
        ask,
        bundle_id=made.bundle_id if is_loaded else bundles.current().space.bundle_id,
        as_of_us=inputs.as_of_us,
        fusion_weight=weight,
        controls=controls,
    )


def changes_since(
    made: Attribution, inputs: AnswerInputs, now: Recommendations, tokens: AttributionTokens
) -> list[ChangedInput]:
    """Return what differs between the inputs of an answer and those of its replay."""
    new = now.inputs or AnswerInputs()
    pairs = (
        (Change.CHANGE_BUNDLE, made.bundle_id, now.bundle_id),
        (Change.CHANGE_CATALOGUE, *_of_lineages(inputs, new, lambda one: one.catalogue_revision)),
        (Change.CHANGE_EVENTS, *_of_lineages(inputs, new, _events)),
        (Change.CHANGE_POPULARITY, *_of_lineages(inputs, new, lambda one: one.popularity_revision)),
        (Change.CHANGE_IMPRESSIONS, f"{inputs.shown:08x}", f"{new.shown:08x}"),
        (Change.CHANGE_DEGRADATIONS, _degradations(inputs), _degradations(new)),
    )
    changed = [
        ChangedInput(change=change, before=str(before), now=str(after))
        for change, before, after in pairs
        if before != after
    ]
    if not tokens.is_digest(inputs.request, now.request):
        changed.insert(0, ChangedInput(change=Change.CHANGE_REQUEST))
    if not changed and not is_same_list(inputs, now):
        changed.append(ChangedInput(change=Change.CHANGE_OTHER))
    return changed


def is_same_list(inputs: AnswerInputs, now: Recommendations) -> bool:
    """Whether the replay has the same items in the same order."""
    return now.inputs is not None and inputs.items == now.inputs.items


def _of_lineages(
    then: AnswerInputs, now: AnswerInputs, number: Callable[[AnswerInputs], object]
) -> tuple[str, str]:
    """Return a number then and now, with their lineages if these differ.

    After a restore of the database an equal number may stand for something else.
    """
    found = [(number(one), f" of database {one.lineage:08x}") for one in (then, now)]
    is_same = then.lineage == now.lineage
    before, after = (f"{one}{'' if is_same or one in (0, _NONE) else of}" for one, of in found)
    return before, after


def _events(inputs: AnswerInputs) -> str:
    if not (inputs.session_sequence or inputs.history_version):
        return _NONE
    return f"window {inputs.session_sequence}, history {inputs.history_version}"


def _degradations(inputs: AnswerInputs) -> str:
    numbers = [number for number in Degradation.values() if inputs.degradations >> number & 1]
    return ", ".join(Degradation.Name(n).removeprefix("DEGRADATION_") for n in numbers) or _NONE
