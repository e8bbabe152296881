"""The whole suite after the restore of a backup, with other items and users under old numbers."""

from pathlib import Path

import grpc
import numpy as np
import pytest

from groundswell.client import GroundswellError, event, item, recommend_request
from groundswell.profile.v1.event_service_pb2 import ListEventsRequest
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.ranker.v1.ranker_service_pb2 import Change
from tests.integration.ranker_service.support import degradations, ids
from tests.support.backups import Backup
from tests.support.bundles import ITEMS
from tests.support.postgres import Postgres
from tests.support.suite import Suite, sqlite_url
from tests.support.waiting import eventually

EVERYTHING = len(ITEMS)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    server: Postgres = request.getfixturevalue("server")
    return server.new_database()


def token(suite: Suite, user_id: str, page_token: str = "") -> str:
    """The token of the next page of a user's events."""
    with grpc.insecure_channel(suite.targets.profile) as channel:
        request = ListEventsRequest(user_id=user_id, page_size=1, page_token=page_token)
        return str(EventServiceStub(channel).ListEvents(request).next_page_token)


def seen_numbers(suite: Suite, user_id: str) -> list[int]:
    profile = suite.client.get_profile(user_id)
    return [int(number) for number in np.frombuffer(profile.seen.item_nos, "<i8")]


def buy(suite: Suite, user_id: str, *item_ids: str) -> None:
    results = suite.client.record_events(
        [event(user_id, item_id, "purchase", event_id=item_id) for item_id in item_ids]
    )
    assert all(result.sequence for result in results)


def write_what_will_be_lost(suite: Suite) -> str:
    """Bob and an item after the backup, read by everyone; return a token of his."""
    suite.client.upsert_items([item("lost", "A war to forget", attributes={"price": 99})])
    buy(suite, "bob", "item-1", "item-2", "lost")
    suite.refresh()
    eventually(lambda: ids(suite.client.recommend("ann", filter="price = 99")) == ["lost"])
    eventually(lambda: not suite.client.recommend("bob", page_size=5).degradations)
    return token(suite, "bob")


def test_after_a_restore_everyone_starts_over_and_nobody_sees_what_is_anothers(
    tmp_path: Path, tiny: Path, database_url: str
) -> None:
    with Suite(tmp_path, tiny, database_url=database_url) as suite:
        suite.fill()
        buy(suite, "ann", "item-3", "item-4")
        suite.refresh()
        backup = Backup(database_url, tmp_path)
        bobs = write_what_will_be_lost(suite)
        costly = recommend_request("nobody", filter="price > 70")
        made = suite.client.recommend("nobody", filter="price > 70")
        assert ids(made) == ["lost"]
        assert not suite.client.replay(made.attribution_token, costly).changes
        if database_url.startswith("sqlite"):
            suite.profile.stop()
            backup.restore()
            suite.start("profile")
        else:
            backup.restore()
        # The first user and the first item after the backup get bob's and the lost one's numbers.
        suite.client.upsert_items([item("other", "A silent sea", attributes={"price": 77})])
        buy(suite, "eve", "item-5", "item-6", "other")
        suite.refresh()
        eventually(lambda: ids(suite.client.recommend("ann", filter="price = 77")) == ["other"])
        assert ids(suite.client.recommend("ann", filter="price = 99")) == []
        replayed = suite.client.replay(made.attribution_token, costly)
        assert not replayed.same_list
        assert Change.CHANGE_CATALOGUE in {one.change for one in replayed.changes}
        eventually(lambda: not suite.client.recommend("eve", page_size=5).degradations)
        eves = set(ids(suite.client.recommend("eve", page_size=EVERYTHING)))
        assert not eves & {"item-5", "item-6", "other"}
        assert {"item-1", "item-2", "item-3", "item-4"} <= eves
        bob = suite.client.recommend("bob", page_size=EVERYTHING)
        assert degradations(bob) >= {"USER_UNKNOWN", "POPULARITY_FALLBACK"}
        assert {"item-1", "item-2"} <= set(ids(bob))
        assert suite.client.encode_session("bob").num_window_events == 0
        assert seen_numbers(suite, "bob") == []
        assert len(seen_numbers(suite, "eve")) == 3
        assert not {"item-3", "item-4"} & set(ids(suite.client.recommend("ann", page_size=20)))
        with pytest.raises(grpc.RpcError) as caught:
            token(suite, "bob", bobs)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "restored" in str(caught.value.details())
        with pytest.raises(GroundswellError):
            suite.client.get_item("lost")
