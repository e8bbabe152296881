"""A ranker never combines two databases when its profile service was restored from a backup."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from groundswell.profile.v1.catalogue_service_pb2 import WatchItemsRequest
from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest
from tests.integration.ranker_service.support import (
    CLICK,
    Ranker,
    degradations,
    ids,
    item,
    number,
    scripted_ranker,
)
from tests.support.bundles import ITEMS
from tests.support.waiting import eventually

EVERYTHING = len(ITEMS)
BEFORE, AFTER = "b" * 32, "a" * 32


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Ranker]:
    with scripted_ranker(tmp_path_factory.mktemp("lineages"), tiny) as ranker:
        yield ranker


@pytest.fixture
def ranker(shared: Ranker) -> Ranker:
    """It follows the lineage of before, with all items."""
    shared.scripted.forget()
    shared.scripted.holds_back_catalogue = False
    restore(shared, BEFORE, range(EVERYTHING))
    eventually(lambda: follows(shared, BEFORE))
    shared.scripted.asked.clear()
    return shared


def follows(ranker: Ranker, lineage: str) -> bool:
    """Whether what is ranked is of a lineage: a session of it is read then."""
    ranker.add_session("probe", ranker.user_vector()).lineage = lineage
    return "SESSION_UNAVAILABLE" not in degradations(ranker.client.recommend("probe"))


def everything(ranker: Ranker) -> list[str]:
    return ids(ranker.client.recommend("nobody", page_size=EVERYTHING + 5))


def restore(ranker: Ranker, lineage: str, rows: Sequence[int]) -> None:
    """Restore a catalogue whose numbers begin with those rows, in that order."""
    ranker.scripted.restore(lineage)
    for place, row in enumerate(rows):
        renamed = item(row)
        renamed.item_no = number(place)
        ranker.scripted.put(renamed)
    held = dict(enumerate(ranker.bundle.item_vectors))
    ranker.scripted.vectors[ranker.bundle.id] = {
        number(place): held[row] for place, row in enumerate(rows)
    }


def test_items_of_a_restored_catalogue_take_the_place_of_those_of_before(ranker: Ranker) -> None:
    rows = [7, 3, 5]
    restore(ranker, AFTER, rows)
    eventually(lambda: sorted(everything(ranker)) == ["item-3", "item-5", "item-7"])
    titles = {one.item_id: one.title for one in ranker.client.recommend("nobody").recommendations}
    assert titles == {f"item-{row}": ITEMS[row][1] for row in rows}
    assert ids(ranker.client.recommend("nobody", filter="price = 5")) == ["item-5"]
    asked = [one for one in ranker.scripted.asked if isinstance(one, WatchItemsRequest)]
    assert asked[-1].lineage == BEFORE


def test_until_the_new_catalogue_is_whole_the_old_one_is_ranked(ranker: Ranker) -> None:
    ranker.scripted.holds_back_catalogue = True
    restore(ranker, AFTER, [7, 3, 5])
    for _ in range(5):
        assert len(everything(ranker)) == EVERYTHING
    assert not follows(ranker, AFTER)
    ranker.scripted.holds_back_catalogue = False
    eventually(lambda: len(everything(ranker)) == 3)
    assert follows(ranker, AFTER)


def test_numbers_of_another_lineage_exclude_nothing_and_are_said_to_lack(ranker: Ranker) -> None:
    profile = ranker.add_profile("ann", ranker.user_vector(), r1=CLICK)
    session = ranker.add_session("ann", ranker.user_vector(), r2=CLICK)
    profile.seen.lineage = session.lineage = AFTER
    answer = ranker.client.recommend("ann", page_size=EVERYTHING)
    assert {"item-1", "item-2"} <= set(ids(answer))
    assert degradations(answer) == {"SEEN_INCOMPLETE", "SESSION_UNAVAILABLE"}
    profile.seen.lineage = session.lineage = BEFORE
    answer = ranker.client.recommend("ann", page_size=EVERYTHING)
    assert not {"item-1", "item-2"} & set(ids(answer))
    assert degradations(answer) == {"PAGE_NOT_FILLED"}


def test_seen_items_are_named_with_their_lineage_and_come_again_in_another(
    ranker: Ranker,
) -> None:
    profile = ranker.add_profile("eve", ranker.user_vector(), r1=CLICK)
    profile.seen.lineage = BEFORE
    for _ in range(2):
        assert "item-1" not in ids(ranker.client.recommend("eve", page_size=EVERYTHING))
    again = [
        one
        for one in ranker.scripted.asked
        if isinstance(one, GetProfileRequest) and one.user_id == "eve"
    ][1]
    assert (again.known_seen_version, again.known_seen_lineage) == (profile.seen.version, BEFORE)
    # As many events after the restore as before it, of another item.
    version = profile.seen.version
    restore(ranker, AFTER, range(EVERYTHING))
    other = ranker.add_profile("eve", ranker.user_vector(), r4=CLICK)
    other.seen.version, other.seen.lineage = version, AFTER
    eventually(lambda: follows(ranker, AFTER))
    found = ids(ranker.client.recommend("eve", page_size=EVERYTHING))
    assert "item-4" not in found
    assert "item-1" in found
