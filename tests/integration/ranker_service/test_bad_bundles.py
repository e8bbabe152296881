"""A bundle that does badly in service leaves it again; one that others make look bad stays."""

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.client import Deadlines, GroundswellClient, GroundswellError, Targets
from groundswell.ranker.v1.ranker_service_pb2 import Controls
from tests.integration.ranker_service.support import (
    CLICK,
    SERVICE,
    Ranker,
    degradations,
    ids,
    number,
    ranker_client,
    ranker_process,
    scripted_ranker,
)
from tests.support.bundles import ITEMS, serve
from tests.support.in_process import run
from tests.support.waiting import eventually


@pytest.fixture
def ranker(made: list[Path], tmp_path: Path) -> Iterator[Ranker]:
    serve(made[0], tmp_path / "bundles")
    with scripted_ranker(tmp_path, tmp_path / "bundles") as ranker:
        ranker.scripted.checks_bundles = True
        yield ranker


def vectors_of(bundle: Bundle) -> dict[int, "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    return {number(row): np.array(values) for row, values in enumerate(bundle.item_vectors)}


def ranks_with(ranker: Ranker) -> str:
    return ranker.client.model("ranker").model.bundle_id


def test_a_bundle_whose_answers_are_bad_leaves_by_itself_until_the_pointer_names_it_again(
    ranker: Ranker, made: list[Path], tmp_path: Path
) -> None:
    old, new = ranker.bundle, load_bundle(made[1])
    ranker.scripted.hold(new.id, vectors_of(new))
    ranker.add_profile("ann", ranker.user_vector())
    ranker.add_session("ann", ranker.user_vector())
    for _ in range(20):
        assert not ranker.client.recommend("ann").degradations
    serve(made[1], ranker.bundles)
    eventually(lambda: ranks_with(ranker) == new.id)
    ranker.scripted.failures["session"] = grpc.StatusCode.INTERNAL
    eventually(lambda: ranker.client.recommend("ann").bundle_id == old.id)
    ranker.scripted.failures.clear()
    time.sleep(1.0)
    assert ranks_with(ranker) == old.id
    [refused] = ranker.client.model("ranker").refused_bundles
    assert refused.bundle_id == new.id
    assert "without the short-term vector" in refused.problem
    assert "bundle_withdrawn" in ranker.process.log()
    listed = run("bundles", "list", "--bundles", str(ranker.bundles), "--ranker", ranker.address)
    assert f"{new.id} is not served" in listed.stdout
    # As when an encoder starts and the previous bundle has another text encoder.
    ranker.scripted.loaded["session"].remove(old.id)
    answer = ranker.client.recommend("ann")
    assert (answer.bundle_id, degradations(answer)) == (old.id, {"SESSION_STALE"})
    ranker.scripted.loaded["session"].append(old.id)
    later, address = ranker_process(
        tmp_path,
        ranker.bundles,
        *(ranker.scripted.addresses[one] for one in ("profile", "session")),
    )
    with later, ranker_client(address) as client:
        later.wait_serving(address, SERVICE)
        eventually(lambda: client.model("ranker").refused_bundles, 30, later.log)
        [refused] = client.model("ranker").refused_bundles
        assert refused.bundle_id == new.id
        assert "without the short-term vector" in refused.problem
        answer = client.recommend("ann")
        assert (answer.bundle_id, degradations(answer)) == (old.id, set())
    store = BundleStore(ranker.bundles)
    store.set_current(old.id)
    eventually(lambda: not ranker.client.model("ranker").refused_bundles)
    store.set_current(new.id)
    eventually(lambda: ranks_with(ranker) == new.id)
    assert ranker.client.recommend("ann").bundle_id == new.id


def test_a_service_that_is_down_after_a_swap_is_not_the_bundles_fault(
    ranker: Ranker, made: list[Path]
) -> None:
    new = load_bundle(made[1])
    ranker.scripted.hold(new.id, vectors_of(new))
    serve(made[1], ranker.bundles)
    eventually(lambda: ranks_with(ranker) == new.id)
    ranker.scripted.failures["session"] = grpc.StatusCode.DEADLINE_EXCEEDED
    for _ in range(40):
        assert ranker.client.recommend("ann").bundle_id == new.id


def test_lists_that_requests_and_users_leave_nothing_for_are_not_the_bundles_fault(
    ranker: Ranker, made: list[Path]
) -> None:
    new = load_bundle(made[1])
    ranker.scripted.hold(new.id, vectors_of(new))
    ranker.add_profile("ann", ranker.user_vector())
    ranker.add_profile("has all", ranker.user_vector(), **{f"r{n}": CLICK for n in range(30)})
    for user in ("ann", "has all"):
        ranker.add_session(user, ranker.user_vector())
    serve(made[1], ranker.bundles)
    eventually(lambda: ranks_with(ranker) == new.id)
    page = ranker.client.recommend("ann", page_size=len(ITEMS), with_next_page=True)
    everything: list[dict[str, Any]] = [
        {"deny_item_ids": [item_id for item_id, _, _ in ITEMS]},
        {"page_token": page.next_page_token},
        {"controls": Controls(min_relevance=100)},
    ]
    for taken in (*everything, {"user_id": "has all"}):
        for _ in range(12):
            answer = ranker.client.recommend(**{"user_id": "ann", **taken})
            assert (ids(answer), answer.bundle_id) == ([], new.id)
    # Too little time for a service says nothing of its model either.
    ranker.scripted.delays_s["session"] = 0.2
    with closing(
        GroundswellClient(Targets(ranker=ranker.address), deadlines=Deadlines(read_s=0.1))
    ) as hasty:
        for _ in range(15):
            with suppress(GroundswellError):  # the machine may be too slow to answer in time
                hasty.recommend("ann")
    assert ranks_with(ranker) == new.id


def test_a_bundle_that_finds_no_items_leaves(ranker: Ranker, made: list[Path]) -> None:
    new = load_bundle(made[1])
    ranker.scripted.hold(new.id, {})
    serve(made[1], ranker.bundles)
    eventually(lambda: ranks_with(ranker) == new.id)
    eventually(lambda: len(ids(ranker.client.recommend("ann"))) > 0)
    [refused] = ranker.client.model("ranker").refused_bundles
    assert "empty" in refused.problem
