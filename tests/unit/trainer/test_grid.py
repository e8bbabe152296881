"""Which combinations a grid has, and what is said of their figures."""

from pathlib import Path

import pytest

from groundswell.trainer.errors import DataError
from groundswell.trainer.grid import FIRST, Row, combinations, verdict


def row(fused: list[float], *settings: str) -> Row:
    ndcg = {"short": fused, "long": fused, "fused": fused}
    return Row(settings, ndcg, [1.0] * len(fused), [Path()] * len(fused))


def test_all_combinations_follow_the_one_that_tries_nothing() -> None:
    assert combinations(["dropout=.1,.3", "window_length=20, 50,20"]) == [
        (),
        ("dropout=.1", "window_length=20"),
        ("dropout=.1", "window_length=50"),
        ("dropout=.3", "window_length=20"),
        ("dropout=.3", "window_length=50"),
    ]
    assert combinations([]) == [()]


@pytest.mark.parametrize("text", ["dropout", "dropout=", "dropout=.1,,.2"])
def test_what_names_no_values_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"--try dropout.*KEY=VALUE,VALUE"):
        combinations([text])


def test_a_setting_is_tried_once() -> None:
    with pytest.raises(DataError, match="--try dropout is there twice"):
        combinations(["dropout=.1", "dropout=.2"])


def test_a_difference_is_that_of_trainings_with_the_same_seed() -> None:
    first, other = row([0.10, 0.20, 0.30]), row([0.12, 0.21, 0.33], "dropout=.1")
    more, error = other.above(first, "fused")
    assert more == pytest.approx(0.02)
    assert error == pytest.approx(0.01 / 3**0.5)
    assert row([0.2], "dropout=.1").above(row([0.1]), "fused")[1] is None


def test_the_first_row_stays_unless_another_one_is_above_it_by_more_than_chance() -> None:
    first = row([0.10, 0.20, 0.30])
    assert first.name == FIRST
    clear = row([0.12, 0.22, 0.33], "dropout=.1")
    by_chance = row([0.05, 0.20, 0.40], "dropout=.2")
    assert "more than two standard errors" in verdict([first, clear])
    assert verdict([first, by_chance]).startswith("dropout=.2 is best, +0.0167")
    assert "the first row may as well stay" in verdict([first, by_chance])
    assert "with one seed" in verdict([row([0.1]), row([0.2], "dropout=.1")])
    assert verdict([first, row([0.0, 0.0, 0.0], "dropout=.9")]) == "nothing is above the first row"
