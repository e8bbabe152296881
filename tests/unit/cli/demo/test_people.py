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


def test_three_users_of_three_tastes_and_lengths_are_shown(prepared: Prepared) -> None:
    people = pick_people(prepared)
    assert len({person.user_id for person in people}) == 3
    assert len({person.taste for person in people}) == 3
    lengths = [person.num_events for person in people]
    assert lengths == sorted(lengths)
    for person in people:
        start, end = prepared.offsets[person.user], prepared.offsets[person.user + 1]
        assert person.num_events == end - start
        assert person.last_us == prepared.times_us[start:end].max()
        assert prepared.user_ids[person.user] == person.user_id


def test_their_taste_is_what_sets_them_apart(prepared: Prepared) -> None:
    category_E = prepared.item_category[prepared.items]
    for person in pick_people(prepared):
        taste = prepared.categories.index(person.taste)
        own = category_E[prepared.offsets[person.user] : prepared.offsets[person.user + 1]]
        assert np.mean(own == taste) > np.mean(category_E == taste)


def test_another_taste_is_one_that_they_hardly_touched(prepared: Prepared) -> None:
    for person in pick_people(prepared):
        other = other_taste(prepared, person)
        assert other.category != person.taste
        own = prepared.items[prepared.offsets[person.user] : prepared.offsets[person.user + 1]]
        assert len(other.items) == 3
        assert not set(other.items) & set(own.tolist())
        category = prepared.categories.index(other.category)
        assert all(prepared.item_category[row] == category for row in other.items)


def test_the_choice_is_the_same_every_time(prepared: Prepared) -> None:
    assert pick_people(prepared) == pick_people(prepared)
