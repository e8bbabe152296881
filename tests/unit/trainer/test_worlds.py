"""The synthetic world is the same every time and holds something to learn."""

from pathlib import Path

import numpy as np
import pytest

from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import TEST, TRAIN, Prepared, load_prepared
from tests.support.worlds import synthetic_world


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    world = synthetic_world(folder)
    prepare(world.events, world.items, folder / "prepared")
    return load_prepared(folder / "prepared")


def hits_at_10(prepared: Prepared, scores_of: dict[int, np.ndarray]) -> float:
    hits = []
    for event in np.flatnonzero(prepared.target == TEST):
        user = int(prepared.users[event])
        scores = scores_of[user].astype(float)
        scores[prepared.items[prepared.offsets[user] : event]] = -np.inf
        hits.append((scores > scores[prepared.items[event]]).sum() < 10)
    return float(np.mean(hits))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = synthetic_world(tmp_path / "a", seed=3, users=10)
    second = synthetic_world(tmp_path / "b", seed=3, users=10)
    other = synthetic_world(tmp_path / "c", seed=4, users=10)
    assert first.events.read_bytes() == second.events.read_bytes()
    assert first.items.read_bytes() == second.items.read_bytes()
    assert first.events.read_bytes() != other.events.read_bytes()


def test_what_came_before_tells_far_more_than_popularity(prepared: Prepared) -> None:
    trained = prepared.split_of == TRAIN
    popularity = np.bincount(prepared.items[trained], minlength=prepared.num_items)
    follows = np.zeros((prepared.num_items, prepared.num_items))
    pairs = trained[1:] & trained[:-1] & (prepared.users[1:] == prepared.users[:-1])
    np.add.at(follows, (prepared.items[:-1][pairs], prepared.items[1:][pairs]), 1)
    users = range(prepared.num_users)
    last = prepared.items[prepared.offsets[1:] - 2]
    by_popularity = hits_at_10(prepared, dict.fromkeys(users, popularity))
    by_order = hits_at_10(prepared, {x: 1000 * follows[last[x]] + popularity for x in users})
    assert by_order > 0.5
    assert by_order > 3 * by_popularity


def test_users_have_long_term_tastes(prepared: Prepared) -> None:
    counts = np.zeros((prepared.num_users, len(prepared.categories)))
    np.add.at(counts, (prepared.users, prepared.item_category[prepared.items]), 1)
    favourite_share = (counts.max(axis=1) / counts.sum(axis=1)).mean()
    assert favourite_share > 2 / len(prepared.categories)


def test_every_item_has_a_title_of_its_own(prepared: Prepared) -> None:
    assert len(set(prepared.titles)) == prepared.num_items
    assert all(prepared.texts)
