"""BatchRecommend is admitted whole, has its own deadline, and leaves room for single calls."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundswell.client import GroundswellError
from groundswell.client.requests import recommend_request
from tests.integration.ranker_service.support import (
    CLICK,
    Ranker,
    degradations,
    ids,
    item,
    scripted_ranker,
)

_BATCH = 256


@pytest.fixture(scope="module")
def shared_ranker(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Ranker]:
    settings = {"GROUNDSWELL_UPSTREAM_TIMEOUT_S": "0.4", "GROUNDSWELL_MAX_BULK_USERS": "16"}
    with scripted_ranker(tmp_path_factory.mktemp("ranker"), tiny, **settings) as ranker:
        yield ranker


@pytest.fixture
def ann(ranker: Ranker) -> Ranker:
    ranker.add_profile("ann", ranker.user_vector())
    ranker.add_session("ann", ranker.user_vector())
    return ranker


def test_a_batch_whose_filter_is_not_current_is_answered_whole(ann: Ranker) -> None:
    for bound in (5, 6):
        answers = ann.client.batch_recommend(
            [recommend_request("ann", filter=f"price < {bound}")] * _BATCH
        )
        assert len(answers) == _BATCH
        assert all(set(ids(one)) == {f"item-{n}" for n in range(bound)} for one in answers)
        ann.scripted.put(item(3))  # The next filter's bitmap is of an older catalogue.


def test_a_batch_of_256_different_filters_is_answered_whole(ann: Ranker) -> None:
    requests = [recommend_request("ann", filter=f"price = {n}") for n in range(_BATCH)]
    answers = ann.client.batch_recommend(requests)
    assert [ids(one) for one in answers[:3]] == [["item-0"], ["item-1"], ["item-2"]]
    assert len(answers) == _BATCH


def test_a_batch_ranks_with_what_changed_since_the_one_before(ann: Ranker) -> None:
    def answers() -> list[list[str]]:
        return [ids(one) for one in ann.client.batch_recommend([recommend_request("ann")] * 2)]

    for _ in range(2):  # The second one finds the same bytes.
        assert answers() == [ids(ann.client.recommend("ann"))] * 2
    for change in (ann.add_profile, ann.add_session):
        before = answers()
        change("ann", -5 * ann.user_vector())
        assert answers() == [ids(ann.client.recommend("ann"))] * 2 != before
    ann.add_profile("ann", ann.user_vector(), r2=CLICK)
    assert "item-2" not in answers()[0]


def test_a_batchs_deadline_is_its_own(ann: Ranker) -> None:
    ann.scripted.delays_s["profile"] = 0.8
    answers = ann.client.batch_recommend([recommend_request("ann")] * 2)
    assert all("PROFILE_STALE" not in degradations(one) for one in answers)
    assert "PROFILE_STALE" in degradations(ann.client.recommend("ann"))


def test_four_batches_at_once_do_not_starve_single_calls(ann: Ranker) -> None:
    ann.scripted.delays_s.update(profile=0.05, session=0.05)
    answers: list[int] = []

    def batch() -> None:
        answers.extend(
            len(degradations(one)) for one in ann.client.batch_recommend(requests, timeout=20)
        )

    requests = [recommend_request("ann")] * _BATCH
    batches = [threading.Thread(target=batch) for _ in range(4)]
    for thread in batches:
        thread.start()
    missing: list[set[str]] = []
    while any(thread.is_alive() for thread in batches):
        missing.append(degradations(ann.client.recommend("ann")))
    assert answers == [0] * 4 * _BATCH
    assert len(missing) >= 10
    # A slow machine may lose one; where batches starve single calls, nearly all lose a vector.
    assert sum(bool(one) for one in missing) <= len(missing) // 4


def test_a_batch_that_is_refused_leaves_no_work_behind(ann: Ranker) -> None:
    ann.scripted.delays_s.update(profile=0.2, session=0.2)
    requests = [recommend_request("ann", filter="price < 5")] * (_BATCH - 1)
    wrong = recommend_request("ann", filter="price <")
    for _ in range(3):
        with pytest.raises(GroundswellError, match="FILTER_INVALID"):
            ann.client.batch_recommend([*requests, wrong])
    time.sleep(0.5)  # The calls that were under way end.
    num_asked = len(ann.scripted.asked)
    time.sleep(1.0)
    assert len(ann.scripted.asked) == num_asked
    assert num_asked < _BATCH


def test_a_stream_gives_what_batches_give_and_ends_at_a_wrong_one(ann: Ranker) -> None:
    requests = [recommend_request("ann", page_size=1 + n % 7) for n in range(11)]
    wanted = [ids(one) for one in ann.client.batch_recommend(requests)]
    assert [ids(one) for one in ann.client.recommend_all(requests, batch_size=4)] == wanted
    requests[6].filter = "price <"
    given = []
    with pytest.raises(GroundswellError, match="FILTER_INVALID") as caught:
        for one in ann.client.recommend_all(requests, batch_size=4):
            given.append(ids(one))
    assert given == wanted[:4]
    assert caught.value.violations[0].field == "requests[2].filter"
