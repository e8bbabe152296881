"""Several processes over one PostgreSQL: the service without a worker, and workers alone."""

import re
from pathlib import Path

import numpy as np

from groundswell.artifacts.bundle import TEXT_ENCODER
from groundswell.artifacts.store import load_bundle
from groundswell.client import event
from groundswell.models.text_encoder import load_torch_encoder
from groundswell.profile_service.worker.text_backends.choice import MIN_RECALL
from tests.integration.profile_service.killed_workers import (
    assert_same,
    fill,
    kill_in_the_middle,
    rows_of,
    until_done,
    worker_process,
)
from tests.integration.profile_service.support import open_memory
from tests.support.bundles import ITEMS, MAX_TOKENS
from tests.support.postgres import Postgres
from tests.support.processes import free_port, service_process
from tests.support.suite import Suite, tiny_items


def test_a_worker_of_its_own_covers_what_the_service_stored_and_a_second_takes_over(
    server: Postgres, bundles: Path, tmp_path: Path
) -> None:
    alone = {"profile": {"GROUNDSWELL_WORKER": "0"}}
    names, url = ("profile", "worker"), server.new_database()
    suite = Suite(tmp_path, bundles, names, database_url=url, settings=alone)
    client, worker = suite.client, suite.processes["worker"]
    with client, suite.profile:
        suite.profile.wait_serving(suite.targets.profile)
        client.upsert_items(tiny_items())
        client.append_events(event("ann", ITEMS[n][0]) for n in range(9))
        profile = client.get_profile("ann")
        assert (len(profile.vector.values) > 0, profile.num_covered_events) == (True, 9)
        assert (profile.stale, profile.text_pending) == (False, True)
        with worker:
            worker.wait_serving(suite.addresses["worker"])
            for _ in client.refresh_profiles(timeout=30):
                pass
            assert not client.get_profile("ann").text_pending
            worker.kill()
        client.append_events(event("ann", ITEMS[n][0]) for n in range(9))
        assert client.get_profile("ann").text_pending
        with worker:
            worker.wait_serving(suite.addresses["worker"])
            for _ in client.refresh_profiles(["ann"], timeout=30):
                pass
            profile = client.get_profile("ann")
            assert (profile.num_covered_events, profile.text_pending) == (18, False)


def test_the_torch_encoder_and_the_exported_one_say_the_same(bundles: Path) -> None:
    bundle = load_bundle(bundles)
    texts = ["Quiet River", "A much longer text " * 30, "", "Winter; Wedding; Frontier"]
    torch_vectors = load_torch_encoder(bundle.path / TEXT_ENCODER, MAX_TOKENS, "cpu").encode(texts)
    assert np.abs(torch_vectors - bundle.text_encoder().encode(texts)).max() < 1e-4


def test_a_worker_whose_device_is_missing_says_so_before_it_opens_anything(
    bundles: Path, tmp_path: Path
) -> None:
    nobody = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    worker = service_process(
        "groundswell.profile_service",
        free_port(),
        bundles,
        tmp_path / "log",
        {"GROUNDSWELL_DATABASE_URL": nobody, "CUDA_VISIBLE_DEVICES": ""},
        ["encode", "--device", "cuda:99"],
    )
    with worker:
        assert worker.wait(60) == 1
    (line,) = worker.log().splitlines()
    assert "DEVICE_UNAVAILABLE" in line
    assert "GROUNDSWELL_DEVICE: cuda:99: " in line
    assert "Traceback" not in line


def test_a_worker_refuses_the_backend_that_ranks_items_otherwise_with_its_figure(
    server: Postgres, bundles: Path, tmp_path: Path
) -> None:
    worker = service_process(
        "groundswell.profile_service",
        free_port(),
        bundles,
        tmp_path / "log",
        {
            "GROUNDSWELL_DATABASE_URL": server.new_database(),
            "GROUNDSWELL_ENCODER_BACKEND": "onnx-int8",
        },
        ["encode"],
    )
    with worker:
        assert worker.wait(60) == 1
    line = worker.log().splitlines()[-1]
    assert "BACKEND_REFUSED" in line
    (recall,) = re.findall(r"the text backend onnx-int8 .* has recall (0\.\d+)", line)
    assert float(recall) < MIN_RECALL


async def test_a_worker_that_is_killed_in_the_middle_leaves_the_rows_of_an_undisturbed_one(
    server: Postgres, bundles: Path, tmp_path: Path
) -> None:
    rows = []
    for name, num_kills in (("undisturbed", 0), ("killed", 2)):
        memory = await open_memory(server.new_database(), tmp_path)
        await fill(memory, num_users=120, num_events=9, seed=5)
        few = {"GROUNDSWELL_WORKER_CLAIM_TOKENS": "2000"}
        worker = worker_process(memory.settings.database_url, bundles, tmp_path / name, few)
        await kill_in_the_middle(memory, worker, num_kills, seed=5, within_s=0.05)
        with worker:
            await until_done(memory)
        rows.append(await rows_of(memory))
        await memory.database.close()
    assert [len(one.exact) for one in rows[0].values()] == [len(ITEMS), 120, 240]
    assert_same(rows[1], rows[0])
