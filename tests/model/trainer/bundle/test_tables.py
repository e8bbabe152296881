"""The canary queries of a bundle are means of users, and find their items."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts.bundle import CANARY, Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.ranker_service.canary import check_canary
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engines import open_index
from groundswell.trainer.bundle.tables import write_canary
from tests.support.bundles import DIMENSION, tiny_bundle


@pytest.mark.parametrize(("num_users", "sizes"), [(9, []), (25, [13, 12])])
def test_each_canary_query_is_of_ten_or_more_users(
    tmp_path: Path, num_users: int, sizes: list[int]
) -> None:
    whole = load_bundle(tiny_bundle(tmp_path))
    folder = shutil.copytree(whole.path, tmp_path / "new")
    rng = np.random.default_rng(0)
    short, long = rng.standard_normal((2, num_users, DIMENSION)).astype(np.float32)
    features = rng.random((num_users, 3), np.float32)
    users_n = np.repeat(np.arange(num_users), 3)  # several events are still one user
    users = [one[users_n] for one in (short, long, features)]
    fusion = whole.manifest.fusion
    spec = write_canary(folder, users, users_n, fusion, whole.manifest.index_kind)
    if spec is None:
        assert not sizes
        assert not (folder / CANARY).exists()
        return
    bundle = Bundle("new", folder, whole.manifest.model_copy(update={"canary": spec}))
    canary = bundle.canary()
    assert canary is not None
    for means, one in zip(canary[:3], (short, long, features), strict=True):
        np.testing.assert_allclose(sizes @ means, one.sum(0), atol=1e-4)
    assert spec.recall == 1.0
    check_canary(bundle, Fusion(bundle.fusion_model(), fusion), open_index(bundle))
