"""Fusion weights are drawn for a share of the asks, and only where the bundle would decide."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from groundswell.features.fusion_policy import CutNormal
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.draw import RandomFusion
from groundswell.serving.attribution import Draw

ASK = Ask(user_id="ann", as_of_us=0, k=10)


def test_a_share_is_drawn_from_the_grid() -> None:
    drawing = RandomFusion(0.25, "0, 0.5,1", Random(1))
    asks = [drawing.drawn(ASK, 0.3) for _ in range(4_000)]
    drawn = [ask for ask in asks if ask is not ASK]
    assert 900 < len(drawn) < 1_100
    assert {ask.fusion_weight for ask in drawn} == {0.0, 0.5, 1.0}
    assert {(ask.draw, round(ask.propensity, 9)) for ask in drawn} == {(Draw.GRID, round(1 / 3, 9))}


def test_a_normal_is_drawn_around_the_constant_of_the_bundle() -> None:
    drawing = RandomFusion(1.0, "normal:0.1", Random(1))
    asks = [drawing.drawn(ASK, 0.3) for _ in range(1_000)]
    weights = [ask.fusion_weight or 0.0 for ask in asks]
    assert abs(sum(weights) / len(weights) - 0.3) < 0.02
    density = CutNormal(0.3, 0.1)
    assert {ask.draw for ask in asks} == {Draw.DENSITY}
    np.testing.assert_allclose(
        [ask.propensity for ask in asks], density.propensities(np.array(weights))
    )


@pytest.mark.parametrize("given", [{"fusion_weight": 0.7}, {"k": 0}, {"is_trending": True}])
def test_what_has_its_weight_or_needs_none_is_left_as_it_is(given: dict[str, object]) -> None:
    ask = replace(ASK, **given)  # type: ignore[arg-type]
    assert RandomFusion(1.0, "0,1").drawn(ask, 0.3) is ask


@pytest.mark.parametrize("weights", ["", "0,2", "0.1,0.1", "normal:", "normal:0", "uniform"])
def test_wrong_weights_are_refused(weights: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RandomFusion(1.0, weights)
