"""Actions get the weights that they are given."""

import pytest

from groundswell.features.actions import DISLIKE, action_number
from groundswell.trainer.dataset.action_weights import action_weights, parse_action_weights
from groundswell.trainer.errors import DataError


def test_an_action_weighs_one_unless_given_and_a_dislike_nothing() -> None:
    weights = action_weights({"View": 0.5})
    assert weights[action_number("view")] == 0.5
    assert weights[DISLIKE] == 0
    assert weights[action_number("rate")] == 1


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
