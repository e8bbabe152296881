"""1,000 logs of 100,000 lists: how often the intervals of policy estimates hold the truth."""

import pytest
from rich.console import Console

from tests.support.policy_logs import CASES, simulate


@pytest.mark.parametrize("name", CASES)
def test_the_interval_covers_the_true_value_as_often_as_it_says(name: str) -> None:
    tally = simulate(CASES[name], num_logs=1_000, num_lists=100_000, seed=1)
    half = tally.half_width.round(4).tolist()
    Console().print(f"{name}: covered {tally.covered.tolist()}, half-width at most {half}")
    assert ((tally.covered >= 930) & (tally.covered <= 970)).all()
    assert (tally.half_width <= 0.1).all()
