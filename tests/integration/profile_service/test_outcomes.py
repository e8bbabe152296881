"""Events with a token are counted for the list that they came of, and tell of other policies."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from groundswell.features.fusion_policy import CutNormal, Grid
from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.outcomes.lists import NewList, ShownLists
from groundswell.profile_service.outcomes.rates import Group, Key, OutcomeRow
from groundswell.profile_service.outcomes.reports import OutcomeReports
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.lists import Span
from groundswell.serving.attribution import (
    Attribution,
    AttributionTokens,
    Draw,
    new_recommendation_id,
)
from groundswell.serving.errors import FailedPrecondition
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.vectors import pack_int64
from tests.integration.profile_service.support import Memory, an_item
from tests.support.processes import SECRET

VIEW, CLICK, PURCHASE, DISLIKE = 1, 2, 4, 6
BLUE, GREEN = "ab" * 32, "cd" * 32
HOUR_US = 3_600_000_000
ITEMS = "abcd"
TOKENS = AttributionTokens(SECRET)
_numbers = itertools.count()


def a_list(
    bundle: str,
    items: Sequence[int],
    *,
    weight: float | None = 0.25,
    user: str = "ann",
    **more: object,
) -> NewList:
    made = Attribution(new_recommendation_id(), bundle, fusion_weight=weight, **more)  # type: ignore[arg-type]
    return NewList(made, user, pack_int64(items))


def came(
    shown: NewList, item: str, action: int, user: str = "ann", token: str | None = None
) -> NewEvent:
    """An event that came of a list."""
    token = TOKENS.issue(shown.made) if token is None else token
    content = EventContent(item, action, None, now_us(), 0, "", token)
    return NewEvent(user, f"e{next(_numbers)}", content)


def lately(**more: object) -> Span:
    return Span(now_us() - HOUR_US, now_us() + HOUR_US, **more)  # type: ignore[arg-type]


async def prepare(memory: Memory, lists: Sequence[NewList]) -> OutcomeReports:
    await memory.catalogue.upsert([an_item(name) for name in ITEMS])
    await ShownLists(memory.database, Pseudonymizer(SECRET), keep_s=3600.0).store(lists)
    return OutcomeReports(memory.database, TOKENS)


async def test_clicks_and_purchases_are_counted_by_bundle_weight_and_place(memory: Memory) -> None:
    one, two = a_list(BLUE, [1, 2, 3]), a_list(BLUE, [2, 1])
    other, popular = a_list(GREEN, [3, 4], weight=1.0), a_list(GREEN, [4], weight=None)
    reports = await prepare(memory, [one, two, other, popular])
    await memory.log.append(
        [
            came(one, "a", CLICK),
            came(one, "a", PURCHASE),  # the same item of the list
            came(one, "c", VIEW),
            came(one, "d", CLICK),  # not in the list
            came(two, "a", DISLIKE),
            came(other, "c", PURCHASE, "bob"),
            came(a_list(BLUE, [1]), "a", CLICK),  # a list that was not stored
            NewEvent("ann", "plain", EventContent("a", CLICK, None, now_us(), 0, "", "")),
        ]
    )
    counts = await reports.count(lately(), {Group.BUNDLE})
    assert counts.rows == {
        Key(BLUE): OutcomeRow(2, 5, 2, 1),
        Key(GREEN): OutcomeRow(2, 3, 1, 1),
    }
    assert counts.num_not_shown == 1
    counts = await reports.count(lately(), {Group.FUSION_WEIGHT})
    assert counts.rows == {
        Key(tenth=2): OutcomeRow(2, 5, 2, 1),
        Key(tenth=9): OutcomeRow(1, 2, 1, 1),
        Key(): OutcomeRow(1, 1, 0, 0),
    }
    counts = await reports.count(lately(), {Group.PLACE})
    assert counts.rows == {
        Key(place=1): OutcomeRow(4, 4, 2, 2),
        Key(place=2): OutcomeRow(3, 3, 0, 0),
        Key(place=3): OutcomeRow(1, 1, 1, 0),
    }
    assert not (await reports.count(Span(0, now_us() - HOUR_US), set())).rows
    assert not (await reports.count(lately(confirmed_only=True), set())).rows


async def test_pages_of_events_and_lists_are_read_to_their_end(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.profile_service.outcomes.reports._PAGE", 3)
    grid = Grid.uniform((0.0, 0.5))
    shown = [
        a_list(BLUE, [1], weight=0.5 * (n % 2), user=f"u{n}", draw=Draw.GRID, propensity=0.5)
        for n in range(20)
    ]
    for n in (0, 4, 8, 12, 16):
        shown[n] = shown[n]._replace(subject="")
    reports = await prepare(memory, [*shown, a_list(BLUE, [1])])
    # Of the lists with 0.5 every second one is clicked, of the others none.
    await memory.log.append([came(shown[1], "a", VIEW, user) for user in ("u1", "u2", "u3", "u4")])
    await memory.log.append([came(shown[n], "a", CLICK, f"u{n}") for n in range(1, 20, 4)])
    assert (await reports.count(lately(), set())).rows == {Key(): OutcomeRow(21, 21, 5, 0)}
    drawn = lately(draw=Draw.GRID)
    found = await reports.estimate(drawn, Grid.uniform((0.5,)), purchases=False)
    assert (found.num_lists, found.mean_weight, found.num_effective) == (20, 1.0, 10.0)
    assert found.inverse_propensity.value == found.self_normalised.value == 0.5
    assert found.logged.value == 0.25
    assert (await reports.estimate(drawn, grid, purchases=False)).self_normalised.value == 0.25
    assert (await reports.estimate(drawn, grid, purchases=True)).self_normalised.value == 0.0
    for span, policy in (
        (drawn, Grid.uniform((0.7,))),
        (lately(draw=Draw.DENSITY), CutNormal(0.5, 0.1)),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await reports.estimate(span, policy, purchases=False)
        assert caught.value.reason == "POLICY_NOT_COVERED"


async def test_a_drawn_normal_is_weighed_by_its_densities(memory: Memory) -> None:
    weights = np.linspace(0.05, 0.95, 40)
    logged = CutNormal(0.5, 0.3)
    densities = logged.propensities(weights)
    shown = [
        a_list(BLUE, [1], weight=w, draw=Draw.DENSITY, propensity=p)
        for w, p in zip(weights.tolist(), densities.tolist(), strict=True)
    ]
    reports = await prepare(memory, shown)
    await memory.log.append([came(shown[n], "a", PURCHASE) for n in range(20, 40)])
    target = CutNormal(0.8, 0.2)
    found = await reports.estimate(lately(draw=Draw.DENSITY), target, purchases=True)
    importance = target.propensities(weights) / densities
    assert found.inverse_propensity.value == pytest.approx(importance[20:].sum() / 40)
    assert found.self_normalised.value == pytest.approx(importance[20:].sum() / importance.sum())


async def test_only_events_with_a_signed_token_are_counted(memory: Memory) -> None:
    shown = a_list(BLUE, [1], draw=Draw.GRID, propensity=1.0)
    reports = await prepare(memory, [shown])
    known, other = shown.made.recommendation_id, AttributionTokens("the secret of another one")
    forged = (known, f"{known}.forged", other.issue(shown.made))
    await memory.log.append([came(shown, "a", CLICK, token=token) for token in forged])
    span, policy = lately(draw=Draw.GRID), Grid.uniform((0.25,))
    assert (await reports.count(span, set())).rows == {Key(): OutcomeRow(1, 1, 0, 0)}
    assert (await reports.estimate(span, policy, purchases=False)).logged.value == 0.0
    await memory.log.append([came(shown, "a", CLICK)])
    assert (await reports.count(span, set())).rows == {Key(): OutcomeRow(1, 1, 1, 0)}
    assert (await reports.estimate(span, policy, purchases=False)).logged.value == 1.0
