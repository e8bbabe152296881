"""A call that is under way keeps its bundle, however often the bundle changes meanwhile."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.client.requests import recommend_request
from tests.integration.ranker_service.support import (
    Ranker,
    ids,
    number,
    scripted_ranker,
)
from tests.support.waiting import eventually


def _ranks_with(ranker: Ranker, bundle_id: str) -> bool:
    return ranker.client.model("ranker").model.bundle_id == bundle_id


def test_a_long_batch_is_answered_though_two_more_bundles_come_into_service(
    made: list[Path], tmp_path: Path
) -> None:
    bundles = tmp_path / "bundles"
    for path in made:
        shutil.copytree(path, bundles / path.name, copy_function=os.link)
    store = BundleStore(bundles)
    store.set_current(made[0].name)
    with scripted_ranker(tmp_path, bundles) as ranker, ThreadPoolExecutor(1) as pool:
        for path in made[1:]:
            bundle = load_bundle(path)
            vectors = {number(row): np.array(v) for row, v in enumerate(bundle.item_vectors)}
            ranker.scripted.hold(bundle.id, vectors)
        ranker.scripted.delays_s["session"] = 3.0
        requests = [recommend_request(user) for user in ("ann", "bob")]
        batch = pool.submit(ranker.client.batch_recommend, requests, timeout=20)
        eventually(lambda: len(ranker.scripted.asked) > 1)
        for path in made[1:]:
            store.set_current(path.name)
            eventually(partial(_ranks_with, ranker, path.name))
        answers = batch.result()
    assert [answer.bundle_id for answer in answers] == [made[0].name] * 2
    assert all(len(ids(answer)) == 10 for answer in answers)
