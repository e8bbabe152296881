"""Whom the demo shows: users who differ, and what one of them has not tried."""

import numpy as np
import pytest

from groundswell.cli.demo.people import other_taste, pick_people
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from tests.support.worlds import synthetic_world


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    world = synthetic_world(folder / "world", users=60)
    prepare(world.events, world.items, folder / "prepared")
    return load_prepared(folder / "prepared")


def test_three_users_of_three_lengths_are_shown(prepared: Prepared) -> None:
    lengths = np.diff(prepared.offsets)[pick_people(prepared)]
    assert len(lengths) == 3
    assert lengths.tolist() == sorted(set(lengths.tolist()))


def test_each_prefers_a_category_that_the_others_do_not(prepared: Prepared) -> None:
    category_E = prepared.item_category[prepared.items]
    overall_C = np.bincount(category_E) / len(category_E)
    favourites = set()
    for user in pick_people(prepared):
        own = category_E[prepared.users == user]
        shares_C = np.bincount(own, minlength=len(overall_C)) / len(own)
        favourites.add(int(np.argmax(shares_C * np.log(np.maximum(shares_C, 1e-9) / overall_C))))
        assert (shares_C > overall_C).any()
    assert len(favourites) == 3


def test_another_taste_is_one_that_they_hardly_touched(prepared: Prepared) -> None:
    for user in pick_people(prepared):
        other = other_taste(prepared, user)
        own = prepared.items[prepared.users == user].tolist()
        assert len(other.items) == 3
        assert not set(other.items) & set(own)
        category = prepared.categories.index(other.category)
        assert all(prepared.item_category[row] == category for row in other.items)
        overall = np.mean(prepared.item_category[prepared.items] == category)
        assert np.mean(prepared.item_category[own] == category) < overall


def test_the_choice_is_the_same_every_time(prepared: Prepared) -> None:
    assert pick_people(prepared) == pick_people(prepared)
