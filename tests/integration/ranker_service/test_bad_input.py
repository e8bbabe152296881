"""A wrong call is refused with its reason, and the next call is answered."""

import math
from typing import Any

import grpc
import pytest

from groundswell.client import GroundswellError
from groundswell.client.requests import recommend_request
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest
from tests.integration.ranker_service.support import Ranker, ids

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("options", "reason", "field", "named"),
    [
        ({"user_id": ""}, "USER_ID_INVALID", "user_id", "empty"),
        ({"user_id": "x" * 257}, "USER_ID_INVALID", "user_id", "257"),
        ({"page_size": 0}, "PAGE_SIZE_INVALID", "page_size", "0"),
        ({"page_size": 100_000}, "PAGE_SIZE_INVALID", "page_size", "100000"),
        ({"fusion_weight": 1.5}, "FUSION_WEIGHT_INVALID", "fusion_weight", "1.5"),
        ({"fusion_weight": math.nan}, "FUSION_WEIGHT_INVALID", "fusion_weight", "nan"),
        ({"filter": "price < < 3"}, "FILTER_INVALID", "filter", "<"),
        ({"filter": "colour = 'red'"}, "FILTER_INVALID", "filter", "colour"),
        ({"filter": "price = 'red'"}, "FILTER_INVALID", "filter", "'red'"),
        ({"filter": "read_csv('/etc/passwd')"}, "FILTER_INVALID", "filter", "READ_CSV"),
        ({"filter": "(" * 1_500}, "FILTER_INVALID", "filter", "nested"),
        ({"filter": "x" * 2_001}, "FILTER_INVALID", "filter", "2001"),
        ({"deny_item_ids": ["x"] * 10_001}, "DENY_LIST_INVALID", "deny_item_ids", "10001"),
        ({"as_of": 1e10}, "TIME_INVALID", "as_of", "1900"),
    ],
)
def test_a_wrong_field_is_named(
    ranker: Ranker, options: dict[str, Any], reason: str, field: str, named: str
) -> None:
    options = {"user_id": "ann", **options}
    with pytest.raises(GroundswellError) as caught:
        ranker.client.recommend(**options)
    error = caught.value
    assert (error.status, error.reason) == (INVALID, reason)
    assert [violation.field for violation in error.violations] == [field]
    assert named in error.message

    asked = [recommend_request("bob"), recommend_request(**options)]
    with pytest.raises(GroundswellError) as caught:
        ranker.client.batch_recommend(asked)
    error = caught.value
    assert (error.status, error.reason) == (INVALID, reason)
    assert [violation.field for violation in error.violations] == [f"requests[1].{field}"]


def test_somebody_must_be_asked_for(ranker: Ranker) -> None:
    with pytest.raises(GroundswellError) as caught:
        ranker.client.batch_recommend([RecommendRequest()])
    assert caught.value.reason == "SUBJECT_INVALID"


@pytest.mark.parametrize("num", [0, 257])
def test_a_batch_has_1_to_256_requests(ranker: Ranker, num: int) -> None:
    with pytest.raises(GroundswellError) as caught:
        ranker.client.batch_recommend([recommend_request("ann")] * num)
    assert caught.value.reason == "REQUESTS_INVALID"


@pytest.mark.parametrize(
    ("item_id", "options", "reason"),
    [
        ("", {}, "ITEM_ID_INVALID"),
        ("x" * 257, {}, "ITEM_ID_INVALID"),
        ("no-such-item", {}, "ITEM_NOT_FOUND"),
        ("item-1", {"page_size": 0}, "PAGE_SIZE_INVALID"),
        ("item-1", {"filter": "1 = 1"}, "FILTER_INVALID"),
    ],
)
def test_similar_items_names_what_is_wrong(
    ranker: Ranker, item_id: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(GroundswellError) as caught:
        ranker.client.similar_items(item_id, **options)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"fusion_weight": -1.0}, "FUSION_WEIGHT_INVALID"), ({"as_of": -5e9}, "TIME_INVALID")],
)
def test_interests_name_what_is_wrong(ranker: Ranker, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(GroundswellError) as caught:
        ranker.client.interests("ann", **options)
    assert caught.value.reason == reason


def test_a_log_never_holds_whom_or_what_a_call_was_about(ranker: Ranker) -> None:
    ranker.client.recommend("a-private-name", filter="title = 'a private title'")
    with pytest.raises(GroundswellError):
        ranker.client.recommend("a-private-name", filter="SET a_private = 'title'")
    log = ranker.process.log()
    assert "private" not in log


def test_after_all_of_it_the_process_answers_as_ever(ranker: Ranker) -> None:
    assert ids(ranker.client.recommend("nobody", page_size=3)) == ["item-0", "item-1", "item-2"]
    assert "call_failed" not in ranker.process.log()
