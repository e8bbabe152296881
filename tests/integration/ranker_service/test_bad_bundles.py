"""A bundle that does badly in service leaves it again; one that others make look bad stays."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore, load_bundle
from tests.integration.ranker_service.support import Ranker, number, scripted_ranker
from tests.support.bundles import serve
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
    ranker: Ranker, made: list[Path]
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
