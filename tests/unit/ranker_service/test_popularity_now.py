"""What is popular now orders items before what training found popular, in one lineage alone."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from groundswell.profile.v1.outcome_service_pb2 import WatchPopularityResponse
from groundswell.ranker_service.popularity_now import CurrentPopularity, ItemPopularity
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.vectors import pack_int64

LINEAGE = "1" * 32


def message(
    values: dict[int, float], *, reset: bool = False, lineage: str = LINEAGE
) -> WatchPopularityResponse:
    return WatchPopularityResponse(
        item_nos=pack_int64(list(values)),
        log2_weights=np.array(list(values.values()), "<f8").tobytes(),
        revision=1,
        lineage=lineage,
        half_life=Duration(seconds=60),
        reset=reset,
    )


def test_shares_are_those_of_the_most_popular_item() -> None:
    current = CurrentPopularity()
    numbers = np.array([1, 5, 7, 10_000])
    assert current.of(numbers).tolist() == [0, 0, 0, 0]
    current.take(message({1: 2_900.0, 5: 2_901.0}))
    assert current.of(numbers).tolist() == [0.5, 1, 0, 0]
    current.take(message({7: 2_903.0}))
    assert current.of(numbers).tolist() == [0.125, 0.25, 1, 0]
    current.take(message({1: 10.0}, reset=True))
    assert current.of(numbers).tolist() == [1, 0, 0, 0]
    current.take(message({5: 3.0}, lineage="2" * 32))
    assert current.of(numbers).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "bad", [{"revision": -1}, {"item_nos": pack_int64([-1])}, {"item_nos": b""}]
)
def test_a_damaged_message_is_refused_and_changes_nothing(bad: dict[str, Any]) -> None:
    current = CurrentPopularity()
    damaged = message({1: 2.0})
    for name, value in bad.items():
        setattr(damaged, name, value)
    with pytest.raises(InvalidArgument):
        current.take(damaged)
    assert (current.revision, current.of(np.array([1])).tolist()) == (0, [0])


def test_items_without_events_come_after_in_the_order_of_training() -> None:
    current = CurrentPopularity()
    mixed = ItemPopularity(current, np.array([30.0, 10.0, 0.0]))
    numbers = np.array([2, 3, 4, 5])
    assert mixed.put(numbers, np.array([0, 1, 2, -1]))
    assert mixed.by_number[numbers].tolist() == [30, 10, 0, 0]
    current.take(message({4: 1.0, 5: 3.0, 90: 3.0}))
    mixed.update("another lineage")
    assert mixed.by_number[numbers].tolist() == [30, 10, 0, 0]
    mixed.update(LINEAGE)
    assert np.argsort(-mixed.by_number[numbers]).tolist() == [3, 2, 0, 1]
    # An item that comes later has its popularity at once.
    mixed.put(np.array([90]), np.array([-1]))
    assert mixed.by_number[90] == 1
    assert not mixed.put(np.array([91]), np.array([-1]))
    # So has one that is changed; what others are kept in order by is made again only then.
    assert not mixed.put(np.array([3]), np.array([1]))
    assert mixed.put(np.array([3]), np.array([0]))
    assert mixed.by_number[3] == mixed.by_number[2]


def test_scores_get_a_part_of_popularity_where_the_bundle_says_so() -> None:
    current = CurrentPopularity()
    assert ItemPopularity(current, np.zeros(1)).added is None
    weighed = ItemPopularity(current, np.zeros(1), weight=0.5)
    weighed.put(np.array([1, 2]), np.array([-1, -1]))
    assert weighed.added is not None
    assert len(weighed.added.rows) == 0
    current.take(message({1: 10.0, 2: 12.0}))
    weighed.update("another lineage")
    assert len(weighed.added.rows) == 0
    weighed.update(LINEAGE)
    assert weighed.added.rows.tolist() == [1, 2]
    np.testing.assert_allclose(weighed.added.scores, [0, np.log(2)], rtol=1e-6)
