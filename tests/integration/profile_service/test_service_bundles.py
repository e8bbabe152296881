"""The profile service follows the current bundle completely, and keeps the old one beside it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.artifacts.store import load_bundle
from groundswell.client import GroundswellClient, GroundswellError, event, vector_values
from groundswell.common.v1.model_service_pb2 import GetModelRequest, GetModelResponse
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceStub
from tests.integration.profile_service.support import profile_service
from tests.support.bundles import ITEMS, serve, tiny_bundle, with_manifest
from tests.support.postgres import Postgres
from tests.support.suite import Suite, tiny_items
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles of one text encoder, one that says it has another one, and one that reads no
    texts of histories."""
    root = tmp_path_factory.mktemp("made")
    first, second = (tiny_bundle(root, seed=seed) for seed in (0, 1))
    text = load_bundle(first).manifest.text.model_copy(update={"fingerprint": "another:fp32:1"})
    skip = HistoryTextSpec(mode="skip")
    return [
        first,
        second,
        with_manifest(first, root, text=text),
        with_manifest(first, root, history_text=skip),
    ]


@pytest.fixture
def service(tmp_path: Path, made: list[Path]) -> Iterator[Suite]:
    """A service of the test's own, on the first bundle, with one covered user."""
    serve(made[0], tmp_path / "bundles")
    with profile_service(tmp_path, tmp_path / "bundles") as running:
        running.client.upsert_items(tiny_items())
        running.client.append_events(event("ann", ITEMS[n][0]) for n in range(6))
        for _ in running.client.refresh_profiles(timeout=30):
            pass
        yield running


def _model(service: Suite) -> GetModelResponse:
    with grpc.insecure_channel(service.targets.profile) as channel:
        answer: GetModelResponse = ModelServiceStub(channel).GetModel(GetModelRequest())
        return answer


def _wait_for(service: Suite, bundle: Path) -> GetModelResponse:
    eventually(lambda: _model(service).model.bundle_id == bundle.name, 30, service.profile.log)
    return _model(service)


def _watched(
    client: GroundswellClient, bundle: Bundle
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    vectors: dict[str, tuple[float, ...]] = {}
    for answer in client.watch_items(bundle_id=bundle.id):
        vectors |= {c.item.item_id: vector_values(c.vector) for c in answer.changes}
        if answer.caught_up:
            break
    return np.array([vectors[item_id] for item_id in bundle.item_ids])


def test_a_new_bundle_of_the_same_encoder_serves_at_once_and_the_old_one_beside_it(
    service: Suite, made: list[Path]
) -> None:
    client = service.client
    old = client.get_profile("ann")
    serve(made[1], service.folder / "bundles")
    model = _wait_for(service, made[1])
    assert list(model.loaded_bundle_ids) == [made[1].name, made[0].name]
    new = client.get_profile("ann")
    assert (new.vector.bundle_id, new.num_covered_events) == (made[1].name, 6)
    assert new.vector.values != old.vector.values
    assert client.get_profile("ann", bundle_id=made[0].name).vector == old.vector
    for path in made[:2]:
        bundle = load_bundle(path)
        assert np.abs(_watched(client, bundle) - bundle.item_vectors).max() < 1e-4


def test_a_bundle_of_another_encoder_serves_once_everything_has_been_read_with_it(
    service: Suite, made: list[Path]
) -> None:
    client = service.client
    before = client.get_profile("ann").covered_at
    # What such a user did stays in the profile, though the item is gone.
    client.delete_items([ITEMS[5][0]])
    serve(made[2], service.folder / "bundles")
    _wait_for(service, made[2])
    profile = client.get_profile("ann")
    assert (profile.vector.bundle_id, profile.num_covered_events) == (made[2].name, 6)
    assert profile.covered_at.ToNanoseconds() > before.ToNanoseconds()
    assert profile.vector.values


def test_swaps_to_a_bundle_without_texts_of_histories_and_back_need_no_wait(
    service: Suite, made: list[Path]
) -> None:
    client = service.client
    serve(made[3], service.folder / "bundles")
    _wait_for(service, made[3])
    client.append_events(event("eve", ITEMS[n][0]) for n in range(6))
    profile = client.get_profile("eve")
    assert profile.vector.values
    assert (profile.num_covered_events, profile.stale, profile.text_pending) == (6, False, False)
    for _ in client.refresh_profiles(timeout=30):
        pass
    assert client.get_profile("eve").vector == profile.vector
    # The bundle before still answers whoever names it, with the text that it reads.
    serve(made[0], service.folder / "bundles")
    _wait_for(service, made[0])
    eventually(lambda: not client.get_profile("eve").text_pending, 30, service.profile.log)
    assert client.get_profile("eve").vector.values != profile.vector.values


def test_a_broken_bundle_is_refused_and_the_old_one_serves_on(
    service: Suite, made: list[Path]
) -> None:
    def flip(path: Path) -> None:
        file = path / "profile_head.onnx"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)

    serve(made[1], service.folder / "bundles", flip)
    eventually(lambda: "bundle_refused" in service.profile.log(), 20)
    assert list(_model(service).loaded_bundle_ids) == [made[0].name]
    assert service.client.get_profile("ann").vector.values
    with pytest.raises(GroundswellError) as caught:
        service.client.get_profile("ann", bundle_id=made[1].name)
    assert caught.value.reason == "BUNDLE_NOT_LOADED"


def test_a_backfill_without_end_can_be_rolled_back_and_a_restart_serves_what_was_served(
    tmp_path: Path, made: list[Path], server: Postgres
) -> None:
    bundles, url = tmp_path / "bundles", server.new_database()
    serve(made[0], bundles)
    alone = {"profile": {"GROUNDSWELL_WORKER": "0"}}
    names = ("profile", "worker")
    with Suite(tmp_path, bundles, names, database_url=url, settings=alone) as service:
        client, encoder = service.client, service.processes["worker"]
        client.upsert_items(tiny_items())
        client.append_events(event("ann", ITEMS[n][0]) for n in range(6))
        for _ in client.refresh_profiles(timeout=30):
            pass
        encoder.kill()
        for _ in range(2):
            serve(made[2], bundles)
            _until_logged(service, "bundle_loaded", made[2])
            assert list(_model(service).loaded_bundle_ids) == [made[0].name]
            serve(made[0], bundles)
            _until_logged(service, "candidate_given_up", made[2])
            service.profile.log_path.write_text("")
        serve(made[2], bundles)
        _until_logged(service, "bundle_loaded", made[2])
        client.append_events([event("ann", ITEMS[7][0])])
        assert client.get_profile("ann").text_pending
        service.profile.kill()
        service.start("profile")
        profile = client.get_profile("ann")
        assert (profile.vector.bundle_id, profile.num_covered_events) == (made[0].name, 7)
        assert profile.vector.values
        encoder.start()
        _wait_for(service, made[2])
        for bundle in (made[2], made[0]):
            profile = client.get_profile("ann", bundle_id=bundle.name)
            assert (profile.vector.bundle_id, profile.text_pending) == (bundle.name, False)


def _until_logged(service: Suite, what: str, bundle: Path) -> None:
    def is_logged() -> bool:
        return any(what in x and bundle.name in x for x in service.profile.log().splitlines())

    eventually(is_logged, 30, service.profile.log)
