"""With the services that it asks killed, the ranker answers every call, and says so.

The long form, in tests/campaign/test_killed_upstreams.py, measures how fast it answers, too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.ranker_service.support import degradations, ids
from tests.support.bundles import serve
from tests.support.outages import USERS, fill, outage
from tests.support.suite import Suite
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, made: list[Path]) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("suite")
    serve(made[0], folder / "bundles")
    with Suite(folder, folder / "bundles") as running:
        fill(running)
        yield running


@pytest.mark.parametrize("names", [("profile",), ("session",), ("profile", "session")])
def test_every_call_is_answered_and_flagged(suite: Suite, names: Sequence[str]) -> None:
    found = outage(suite, names, num_calls=40, seed=len(names))
    assert found.answered == 1.0
    assert found.opening.num_unflagged == found.during.num_unflagged == 0


def test_the_last_vectors_of_a_user_rank_as_before_and_strangers_get_popular_items(
    suite: Suite,
) -> None:
    whole = suite.client.recommend(USERS[0], fusion_weight=0.5)
    assert not whole.degradations
    suite.session.kill()
    suite.profile.kill()
    kept = suite.client.recommend(USERS[0], fusion_weight=0.5)
    assert ids(kept) == ids(whole)
    assert degradations(kept) == {"PROFILE_STALE", "SESSION_STALE", "SEEN_INCOMPLETE"}
    popular = suite.client.recommend("nobody", filter="price < 3")
    assert sorted(ids(popular)) == ["item-0", "item-1", "item-2"]
    assert degradations(popular) == {
        "PROFILE_UNAVAILABLE",
        "SESSION_UNAVAILABLE",
        "SEEN_INCOMPLETE",
        "POPULARITY_FALLBACK",
        "PAGE_NOT_FILLED",
    }
    suite.start("profile")
    suite.start("session")
    eventually(lambda: not suite.client.recommend(USERS[0]).degradations, timeout_s=30)
