"""Cold items' recall beside chance, in numbers by hand."""

import numpy as np
import pytest

from groundswell.trainer.evaluation.figures.cold_items import cold_figures

USERS = np.array([0, 0, 1, 2])
ITEMS = np.array([7, 7, 8, 9])
RANKS = {"good": np.array([1, 4, 11, 60]), "bad": np.array([400, 51, 300, 222])}


def test_recall_is_held_against_what_a_random_order_finds() -> None:
    found = cold_figures(RANKS, USERS, ITEMS, num_candidates=400)
    assert found is not None
    assert (found["targets"], found["users"], found["items"]) == (4, 3, 3)
    assert found["chance"] == {f"recall@{k}": k / 400 for k in (5, 10, 20, 50)}
    good, bad = found["models"]["good"], found["models"]["bad"]
    assert [good[f"recall@{k}"] for k in (5, 10, 20, 50)] == [0.5, 0.5, 0.75, 0.75]
    assert good["ratio"]["recall@50"] == pytest.approx(0.75 / (50 / 400))
    assert bad["ratio"]["recall@50"] == 0
    for name, (low, high) in good["ratio_ci95"].items():
        assert [low, high] == pytest.approx([x / found["chance"][name] for x in good["ci95"][name]])
        assert low <= good["ratio"][name] <= high


def test_chance_finds_everything_in_a_list_as_long_as_the_catalogue() -> None:
    found = cold_figures({"all": np.array([1, 2, 3, 4])}, USERS, ITEMS, num_candidates=4)
    assert found is not None
    assert found["chance"]["recall@50"] == found["models"]["all"]["ratio"]["recall@5"] == 1


def test_without_targets_there_are_no_figures() -> None:
    nothing = np.empty(0, np.int64)
    assert cold_figures({"good": nothing}, nothing, nothing, num_candidates=400) is None
