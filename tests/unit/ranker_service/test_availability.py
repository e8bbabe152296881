"""The times at which items turn available or unavailable, as the clock comes to them."""

import pytest

from groundswell.ranker_service import availability
from groundswell.ranker_service.availability import AvailabilityTurns
from groundswell.ranker_service.catalogue import CatalogueItem


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [1_000]
    monkeypatch.setattr(availability, "now_us", lambda: now[0])
    return now


def an_item(no: int, *, begins: int = 0, ends: int | None = None) -> CatalogueItem:
    return CatalogueItem(
        no, f"item-{no}", "", (), {}, True, available_from_us=begins, available_until_us=ends
    )


def test_an_item_is_due_at_each_of_its_times_that_are_still_to_come(clock: list[int]) -> None:
    turns = AvailabilityTurns()
    turns.put([an_item(1, begins=2_000, ends=3_000), an_item(2, begins=500, ends=2_500)])
    found = []
    for clock[0] in range(1_000, 3_500, 500):
        found.append(turns.due())
    assert found == [set(), set(), {1}, {2}, {1}]


def test_an_item_that_is_written_again_and_again_takes_no_more_memory(clock: list[int]) -> None:
    turns = AvailabilityTurns()
    for n in range(20_000):
        turns.put([an_item(1, ends=5_000), an_item(2, ends=10_000 + n)])
    assert len(turns._turns) < 2_000
    clock[0] = 5_000
    assert turns.due() == {1}
    clock[0] = 29_999
    assert turns.due() == {2}
