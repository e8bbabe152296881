"""The ranker follows the current bundle completely, and only together with the encoders."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.profile.v1.catalogue_service_pb2 import WatchItemsRequest
from tests.integration.ranker_service.support import (
    CLICK,
    SERVICE,
    VIEW,
    Ranker,
    degradations,
    ids,
    item,
    number,
    ranker_client,
    ranker_process,
    scripted_ranker,
)
from tests.support.bundles import ITEMS, serve, tiny_bundle
from tests.support.processes import wait_serving
from tests.support.scripted import Scripted
from tests.support.waiting import eventually

EVERYTHING = len(ITEMS)


@pytest.fixture
def own_bundles(made: list[Path], tmp_path: Path) -> Path:
    """A folder of bundles that a test may add to; its files are links to the shared ones."""
    root = tmp_path / "bundles"
    serve(made[0], root)
    return root


@pytest.fixture
def ranker(own_bundles: Path, tmp_path: Path) -> Iterator[Ranker]:
    """A process of the test's own."""
    with scripted_ranker(tmp_path, own_bundles) as ranker:
        yield ranker


def vectors_of(bundle: Bundle) -> dict[int, "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    return {number(row): np.array(values) for row, values in enumerate(bundle.item_vectors)}


def ranks_with(ranker: Ranker) -> str:
    return ranker.client.model("ranker").model.bundle_id


def test_a_new_bundle_ranks_once_both_encoders_hold_it_and_its_items(
    ranker: Ranker, made: list[Path]
) -> None:
    old, new = ranker.bundle, load_bundle(made[1])
    serve(made[1], ranker.bundles)
    time.sleep(1.0)
    assert ranks_with(ranker) == old.id
    ranker.scripted.vectors[new.id] = vectors_of(new)
    ranker.scripted.loaded["profile"].append(new.id)
    time.sleep(1.0)
    assert ranks_with(ranker) == old.id, "the session service does not hold it yet"
    ranker.scripted.loaded["session"].append(new.id)
    eventually(lambda: ranks_with(ranker) == new.id)
    assert list(ranker.client.model("ranker").loaded_bundle_ids) == [new.id, old.id]

    ranker.bundle = new
    long = ranker.user_vector()
    ranker.add_profile("ann", long)
    answer = ranker.client.recommend("ann", page_size=EVERYTHING)
    assert answer.bundle_id == new.id
    due = np.argsort(-(new.item_vectors.astype(np.float64) @ long.astype(np.float64)))
    assert ids(answer) == [f"item-{row}" for row in due]


def test_no_call_fails_while_bundles_are_swapped_forth_and_back(
    ranker: Ranker, made: list[Path]
) -> None:
    old, new = ranker.bundle, load_bundle(made[1])
    ranker.scripted.hold(new.id, vectors_of(new))
    serve(made[1], ranker.bundles)
    store = BundleStore(ranker.bundles)
    for target in (new.id, old.id, new.id):
        store.set_current(target)
        deadline = time.monotonic() + 15
        while ranks_with(ranker) != target:
            assert time.monotonic() < deadline
            answer = ranker.client.recommend("nobody", page_size=5)
            assert len(ids(answer)) == 5
            assert answer.bundle_id in (old.id, new.id)


def test_a_deletion_survives_a_swap(ranker: Ranker, made: list[Path]) -> None:
    ranker.scripted.delete(item(0))
    eventually(lambda: "item-0" not in ids(ranker.client.recommend("nobody")))
    new = load_bundle(made[1])
    ranker.scripted.hold(new.id, vectors_of(new))
    serve(made[1], ranker.bundles)
    eventually(lambda: ranks_with(ranker) == new.id)
    assert "item-0" not in ids(ranker.client.recommend("nobody", page_size=EVERYTHING))


@pytest.mark.parametrize("file", ["index.faiss", "fusion.onnx", "items.parquet", "manifest.json"])
def test_a_corrupt_bundle_is_refused_and_the_old_one_ranks_on(
    ranker: Ranker, made: list[Path], file: str
) -> None:
    def flip_a_bit(path: Path) -> None:
        content = bytearray((path / file).read_bytes())
        content[len(content) // 2] ^= 1
        (path / file).unlink()
        (path / file).write_bytes(content)

    ranker.scripted.hold(made[1].name, {})
    serve(made[1], ranker.bundles, flip_a_bit)
    eventually(lambda: "bundle_refused" in ranker.process.log())
    [refusal] = [line for line in ranker.process.log().splitlines() if "bundle_refused" in line]
    assert file in refusal
    assert ranks_with(ranker) == ranker.bundle.id
    assert len(ids(ranker.client.recommend("nobody"))) == 10

    good = load_bundle(made[2])
    ranker.scripted.hold(good.id, vectors_of(good))
    serve(made[2], ranker.bundles)
    eventually(lambda: ranks_with(ranker) == good.id)


def test_an_index_of_other_vectors_than_the_bundles_is_refused(ranker: Ranker) -> None:
    store = BundleStore(ranker.bundles)
    with store.workspace() as folder:
        shutil.copytree(ranker.bundle.path, folder, dirs_exist_ok=True, copy_function=os.link)
        for name in ("manifest.json", "item_vectors.npy"):
            (folder / name).unlink()
        np.save(folder / "item_vectors.npy", ranker.bundle.item_vectors[::-1].copy())
        wrong = store.publish(folder, ranker.bundle.manifest)
    store.set_current(wrong)
    eventually(lambda: "the index does not hold the items' vectors" in ranker.process.log())
    assert ranks_with(ranker) == ranker.bundle.id


def test_a_bundle_whose_neighbours_do_not_fit_is_refused(ranker: Ranker, tmp_path: Path) -> None:
    made_with = tiny_bundle(tmp_path / "with", neighbours=True)

    def shorten(path: Path) -> None:
        rows = np.load(path / "neighbour_rows.npy")
        (path / "neighbour_rows.npy").unlink()
        np.save(path / "neighbour_rows.npy", rows[:-1])
        manifest = json.loads((path / "manifest.json").read_text())
        content = (path / "neighbour_rows.npy").read_bytes()
        manifest["files"]["neighbour_rows.npy"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        (path / "manifest.json").unlink()
        (path / "manifest.json").write_text(json.dumps(manifest))

    path = Path(shutil.copytree(made_with, tmp_path / "changed", copy_function=os.link))
    shorten(path)
    name = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()[:16]
    path.rename(ranker.bundles / name)
    ranker.scripted.hold(name, {})
    BundleStore(ranker.bundles).set_current(name)
    eventually(lambda: "bundle_refused" in ranker.process.log())
    assert "neighbour_rows.npy has (29, 3)" in ranker.process.log()
    assert ranks_with(ranker) == ranker.bundle.id


def test_without_a_bundle_the_process_ends_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    process, _ = ranker_process(tmp_path, tmp_path / "none", "127.0.0.1:1", "127.0.0.1:1")
    with process:
        assert process.wait() == 1
    assert "NO_CURRENT" in process.log()


def test_health_says_serving_only_when_the_index_is_filled(
    own_bundles: Path, tmp_path: Path
) -> None:
    scripted = Scripted()
    bundle = load_bundle(own_bundles)
    scripted.holds_back_catalogue = True
    scripted.hold(bundle.id, vectors_of(bundle))
    process, address = ranker_process(
        tmp_path, own_bundles, scripted.addresses["profile"], scripted.addresses["session"]
    )
    try:
        with process:
            eventually(lambda: any(isinstance(r, WatchItemsRequest) for r in scripted.asked), 60)
            with pytest.raises(TimeoutError, match="NOT_SERVING"):
                wait_serving(address, SERVICE, timeout=2)
            scripted.holds_back_catalogue = False
            process.wait_serving(address, SERVICE)
    finally:
        scripted.stop()


def test_a_start_without_the_session_service_serves_and_says_what_lacks(
    own_bundles: Path, tmp_path: Path
) -> None:
    with scripted_ranker(tmp_path, own_bundles, GROUNDSWELL_SESSION_ADDRESS="127.0.0.1:1") as alone:
        alone.add_profile("ann", alone.user_vector())
        answer = alone.client.recommend("ann")
        assert degradations(answer) == {"SESSION_UNAVAILABLE"}
        assert "served_without" in alone.process.log()


def test_a_start_while_the_encoders_prepare_the_new_bundle_begins_with_the_one_that_they_hold(
    own_bundles: Path, made: list[Path], tmp_path: Path
) -> None:
    scripted = Scripted()
    old, new = load_bundle(own_bundles), load_bundle(made[1])
    for row in range(EVERYTHING):
        scripted.put(item(row))
    scripted.hold(old.id, vectors_of(old))
    serve(made[1], own_bundles)
    process, address = ranker_process(
        tmp_path, own_bundles, scripted.addresses["profile"], scripted.addresses["session"]
    )
    try:
        with process, ranker_client(address) as client:
            process.wait_serving(address, SERVICE)
            assert client.model("ranker").model.bundle_id == old.id
            scripted.hold(new.id, vectors_of(new))
            eventually(lambda: client.model("ranker").model.bundle_id == new.id)
    finally:
        scripted.stop()


def test_a_bundle_is_loaded_once_however_long_the_encoders_take(
    ranker: Ranker, made: list[Path]
) -> None:
    new = load_bundle(made[1])
    ranker.scripted.vectors[new.id] = vectors_of(new)
    ranker.scripted.loaded["profile"].append(new.id)
    serve(made[1], ranker.bundles)

    def num_watches() -> int:
        asked = [one for one in ranker.scripted.asked if isinstance(one, WatchItemsRequest)]
        return sum(one.bundle_id == new.id for one in asked)

    eventually(lambda: num_watches() == 1)
    time.sleep(2.0)
    assert ranks_with(ranker) == ranker.bundle.id
    ranker.scripted.loaded["session"].append(new.id)
    eventually(lambda: ranks_with(ranker) == new.id)
    assert num_watches() == 1
    assert "bundle_not_taken_yet" not in ranker.process.log()


def test_calls_in_flight_are_answered_when_the_process_is_told_to_end(
    own_bundles: Path, tmp_path: Path
) -> None:
    with scripted_ranker(tmp_path, own_bundles) as ranker:
        ranker.add_profile("ann", ranker.user_vector())
        ranker.scripted.delays_s["profile"] = 0.7
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(ranker.client.recommend, "ann")
            time.sleep(0.3)
            assert ranker.process.stop() == 0
            assert len(ids(call.result())) == 10


def test_the_actions_that_count_as_seen_are_a_setting(own_bundles: Path, tmp_path: Path) -> None:
    settings = {"GROUNDSWELL_SEEN_ACTIONS": "view"}
    with scripted_ranker(tmp_path, own_bundles, **settings) as ranker:
        ranker.add_profile("ann", ranker.user_vector(), r1=CLICK, r2=VIEW)
        answer = ids(ranker.client.recommend("ann", page_size=EVERYTHING))
        assert "item-1" in answer
        assert "item-2" not in answer


@pytest.mark.parametrize(
    ("name", "value"),
    [("SEEN_ACTIONS", "view,stare"), ("UPSTREAM_SHARE", "1.5"), ("MAX_BATCH", "0")],
)
def test_a_wrong_setting_ends_the_process_with_its_name(
    own_bundles: Path, tmp_path: Path, name: str, value: str
) -> None:
    process, _ = ranker_process(
        tmp_path, own_bundles, "127.0.0.1:1", "127.0.0.1:1", **{f"GROUNDSWELL_{name}": value}
    )
    with process:
        assert process.wait() == 2
    assert f"GROUNDSWELL_{name}" in process.log()
