"""The largest answers of a ranker, received by a client with gRPC's own limits."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from groundswell.client import GroundswellError, recommend_request
from groundswell.common.v1.item_pb2 import Item
from groundswell.profile.v1.profile_service_pb2 import BatchGetProfilesRequest
from groundswell.ranker.v1.ranker_service_pb2 import (
    BatchRecommendRequest,
    SimilarItemsRequest,
)
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from tests.integration.ranker_service.support import (
    CLICK,
    Ranker,
    degradations,
    ids,
    scripted_ranker,
)
from tests.support.bundles import ITEMS
from tests.support.waiting import eventually

MIB = 1024 * 1024
TIMEOUT_S = 60.0
NUM_LONG = 210


def longest(n: int) -> Item:
    """An item whose id, title and categories are as long as the contract allows."""
    return Item(
        item_id=f"{n:0256}",
        item_no=50_000 + n,
        title="T" * 2_000,
        categories=[f"{c:0256}" for c in range(64)],
    )


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Ranker]:
    """A ranker of many long items; it gives a call without a deadline no time."""
    folder = tmp_path_factory.mktemp("ranker")
    with scripted_ranker(folder, tiny, GROUNDSWELL_RECOMMEND_TIMEOUT_S="0.00001") as ranker:
        held = ranker.scripted.vectors[ranker.bundle.id]
        rng = np.random.default_rng(0)
        for n in range(NUM_LONG):
            held[50_000 + n] = rng.normal(size=ranker.bundle.manifest.dimension).astype(np.float32)
            ranker.scripted.put(longest(n))
        eventually(lambda: all(_has_come(ranker, n) for n in range(NUM_LONG)))
        yield ranker


def _has_come(ranker: Ranker, n: int) -> bool:
    try:
        return bool(ranker.client.similar_items(longest(n).item_id, page_size=1).items)
    except GroundswellError:
        return False


@pytest.fixture
def stub(ranker: Ranker) -> Iterator[RankerServiceStub]:
    """A plain gRPC client."""
    with grpc.insecure_channel(ranker.address) as channel:
        yield RankerServiceStub(channel)


def test_200_of_the_longest_items_can_be_received(stub: RankerServiceStub) -> None:
    request = recommend_request("nobody", page_size=200)
    request.deny_item_ids.extend(name for name, _, _ in ITEMS)
    answer = stub.Recommend(request, timeout=TIMEOUT_S)
    assert len(set(ids(answer))) == 200
    assert answer.details_omitted
    assert answer.ByteSize() < 3 * MIB
    usual = stub.Recommend(recommend_request("nobody", page_size=3), timeout=TIMEOUT_S)
    assert not usual.details_omitted
    assert usual.recommendations[0].title


def test_200_neighbours_of_the_longest_can_be_received(stub: RankerServiceStub) -> None:
    request = SimilarItemsRequest(item_id=f"{7:0256}", page_size=200)
    answer = stub.SimilarItems(request, timeout=TIMEOUT_S)
    assert len(answer.items) == 200
    assert answer.details_omitted
    assert answer.ByteSize() < 3 * MIB


def test_the_largest_batch_of_the_longest_items_can_be_received(stub: RankerServiceStub) -> None:
    short = [name for name, _, _ in ITEMS]
    requests = [recommend_request(f"u{n}", page_size=39, deny_item_ids=short) for n in range(256)]
    answer = stub.BatchRecommend(BatchRecommendRequest(requests=requests), timeout=TIMEOUT_S)
    assert [len(one.recommendations) for one in answer.responses] == [39] * 256
    assert answer.ByteSize() < 3 * MIB
    assert answer.responses[255].details_omitted
    fewer = stub.BatchRecommend(BatchRecommendRequest(requests=requests[:9]), timeout=TIMEOUT_S)
    assert fewer.ByteSize() < 3 * MIB
    assert [one.details_omitted for one in fewer.responses] == [False] * 4 + [True] * 5


def test_neighbours_are_looked_for_until_a_default_deadline(stub: RankerServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.SimilarItems(SimilarItemsRequest(item_id=f"{7:0256}", page_size=200))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert info.reason == "DEADLINE_EXCEEDED"


def test_seen_items_that_did_not_fit_into_a_batch_are_asked_for_singly(ranker: Ranker) -> None:
    scripted = ranker.scripted
    scripted.forget()
    scripted.batches_leave_out_seen = True
    for name in ("ann", "bob", "cid"):
        ranker.add_profile(name, ranker.user_vector(), r1=CLICK, r4=CLICK)
    requests = [recommend_request(name, page_size=30) for name in ("ann", "bob", "cid")]
    answers = ranker.client.batch_recommend(requests)
    asked = [type(one) for one in scripted.asked]
    assert asked.count(BatchGetProfilesRequest) == 1
    for answer in answers:
        assert not {ITEMS[1][0], ITEMS[4][0]} & set(ids(answer))
        assert "SEEN_INCOMPLETE" not in degradations(answer)
    # What was told once is held, and named: nothing more is asked.
    scripted.asked.clear()
    ranker.client.batch_recommend(requests)
    assert [type(one).__name__ for one in scripted.asked if "Profile" in type(one).__name__] == [
        "BatchGetProfilesRequest"
    ]
