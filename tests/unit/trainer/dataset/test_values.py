"""Values become comparable within their action, and actions get the weights they are given."""

import numpy as np
import pytest

from groundswell.features.actions import DISLIKE, action_number
from groundswell.trainer.dataset.values import (
    action_weights,
    normalised,
    parse_action_weights,
    value_scales,
)
from groundswell.trainer.errors import DataError

RATE, CART = action_number("rate"), action_number("cart")


def test_one_wild_value_neither_moves_the_others_nor_stays_wild() -> None:
    values = np.array([1.0, 2, 3, 4, 5])
    wild = np.append(values, 1e12)
    actions = np.full(6, RATE, np.int8)
    scales = value_scales(values, actions[:5], np.ones(5, bool))
    with_wild = value_scales(wild, actions, np.ones(6, bool))
    assert with_wild["rate"]["scale"] == pytest.approx(scales["rate"]["scale"], rel=0.3)
    assert normalised(wild, actions, with_wild)[-1] == 3


def test_actions_do_not_share_a_scale_and_nothing_is_learned_from_held_out_values() -> None:
    values = np.array([1, 2, 3, 100, 200, 300, 1e6])
    actions = np.array([RATE] * 3 + [CART] * 4, np.int8)
    scales = value_scales(values, actions, values < 1e6)
    assert scales["rate"]["centre"] == 2
    assert scales["cart"]["centre"] == 200
    found = normalised(values, actions, scales)
    assert found[:3].tolist() == found[3:6].tolist()


def test_a_missing_value_and_an_action_with_one_value_say_nothing() -> None:
    values = np.array([np.nan, 4, 4, 7])
    actions = np.array([RATE, RATE, RATE, CART], np.int8)
    scales = value_scales(values, actions, np.array([True, True, True, False]))
    assert normalised(values, actions, scales).tolist() == [0, 0, 0, 0]


def test_values_that_are_nearly_all_one_number_keep_their_difference() -> None:
    values = np.array([1.0] * 9 + [3])
    actions = np.full(10, RATE, np.int8)
    found = normalised(values, actions, value_scales(values, actions, np.ones(10, bool)))
    assert found[0] == 0
    assert found[-1] == 3


def test_an_action_weighs_one_unless_given_and_a_dislike_nothing() -> None:
    weights = action_weights({"View": 0.5})
    assert weights[action_number("view")] == 0.5
    assert weights[DISLIKE] == 0
    assert weights[RATE] == 1


def test_weights_are_read_from_text() -> None:
    assert parse_action_weights(["view=0.5", " Cart = 2 "]) == {"view": 0.5, "cart": 2}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["view"], "ACTION=WEIGHT, not 'view'"),
        (["view=much"], "ACTION=WEIGHT, not 'view=much'"),
        (["view=1", "VIEW=2"], "view is given twice"),
    ],
)
def test_a_text_that_is_no_weight_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_action_weights(texts)
