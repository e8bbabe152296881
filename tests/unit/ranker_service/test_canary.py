"""A bundle whose canary queries do not find what they must is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts.bundle import CANARY, Bundle, Canary
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.ranker_service.canary import check_canary
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engines import open_index
from tests.support.bundles import ITEMS, tiny_bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("whole"), canary=True))


def asked(bundle: Bundle) -> None:
    check_canary(bundle, Fusion(bundle.fusion_model(), bundle.manifest.fusion), open_index(bundle))


def with_canary(whole: Bundle, root: Path, canary: Canary) -> Bundle:
    """A copy of a bundle with other canary queries, behind the right hashes."""
    store = BundleStore(root)
    with store.workspace() as folder:
        shutil.copytree(whole.path, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        (folder / CANARY).unlink()
        canary.write(folder)
        bundle_id = store.publish(folder, whole.manifest.model_copy(update={"files": {}}))
    return store.load(bundle_id)


def test_a_whole_bundle_finds_its_items(whole: Bundle) -> None:
    canary = whole.canary()
    assert canary is not None
    assert canary.best_rows.shape == (8, 5)
    asked(whole)


_WRONG: dict[str, tuple[str, Callable[[Canary], Canary]]] = {
    "other items": (
        r"find 0\.\d+ of their items, not 1\.000",
        lambda c: c._replace(best_rows=(c.best_rows + 7) % len(ITEMS)),
    ),
    "other users": (r"find 0\.\d+ of", lambda c: c._replace(short_vectors=-3 * c.short_vectors)),
    "no number": ("do not fit", lambda c: c._replace(long_vectors=c.long_vectors * np.nan)),
    "no item": ("do not fit", lambda c: c._replace(best_rows=c.best_rows + 1_000)),
    "too few": ("cannot be read|do not fit", lambda c: Canary._make([one[:3] for one in c])),
}


@pytest.mark.parametrize("name", _WRONG)
def test_a_bundle_that_does_not_find_its_items_is_refused(
    whole: Bundle, tmp_path: Path, name: str
) -> None:
    problem, change = _WRONG[name]
    canary = whole.canary()
    assert canary is not None
    with pytest.raises(BundleError, match=problem) as refused:
        asked(with_canary(whole, tmp_path, change(canary)))
    assert refused.value.reason == "BUNDLE_CORRUPT"
