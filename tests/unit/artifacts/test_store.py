"""The store of bundles: atomic, verified, and it refuses everything that was changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts import bundle as files
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore, load_bundle
from tests.support.bundles import CATEGORIES, DIMENSION, ITEMS, tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    tiny_bundle(root)
    return root


@pytest.fixture
def copy(bundles: Path, tmp_path: Path) -> Path:
    """A bundle that the test may spoil."""
    current = BundleStore(bundles).current()
    assert current is not None
    target = tmp_path / current
    shutil.copytree(bundles / current, target)
    return target


def test_a_published_bundle_loads_whole(bundles: Path) -> None:
    bundle = load_bundle(bundles)
    assert bundle.id == BundleStore(bundles).current() == bundle.path.name
    assert bundle.item_ids == [item_id for item_id, _, _ in ITEMS]
    assert bundle.rows["item-3"] == 3
    assert bundle.item_vectors.shape == (len(ITEMS), DIMENSION)
    assert bundle.popularity[0] > bundle.popularity[-1]
    assert bundle.manifest.categories == CATEGORIES
    text = bundle.text_encoder().encode(["Quiet River. comedy"])
    vector = bundle.item_head().run(text_vectors=text, rows=np.array([0]))
    assert vector == pytest.approx(bundle.item_vectors[:1], abs=1e-5)


def test_the_current_pointer_moves_to_a_published_bundle_alone(bundles: Path) -> None:
    store = BundleStore(bundles)
    with pytest.raises(BundleError, match="holds no bundle feed"):
        store.set_current("feed")
    assert store.current() is not None


def test_an_unfinished_workspace_leaves_nothing(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    with pytest.raises(RuntimeError), store.workspace() as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert store.current() is None


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _set_dimension(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["dimension"] += 1
    path.write_text(json.dumps(manifest))


_SPOILERS: list[tuple[str, Callable[[Path], object]]] = [
    ("session.onnx", lambda b: _flip(b / files.SESSION)),
    ("item_vectors.npy", lambda b: (b / files.ITEM_VECTORS).write_bytes(b"")),
    ("fusion.onnx", lambda b: (b / files.FUSION).unlink()),
    ("weights.pkl", lambda b: (b / "weights.pkl").write_bytes(b"cos\nsystem\n")),
    ("manifest.json", lambda b: _set_dimension(b / "manifest.json")),
]


@pytest.mark.parametrize(("named", "spoil"), _SPOILERS, ids=[name for name, _ in _SPOILERS])
def test_a_spoiled_bundle_is_refused_and_the_file_is_named(
    copy: Path, named: str, spoil: Callable[[Path], object]
) -> None:
    spoil(copy)
    with pytest.raises(BundleError, match=named) as caught:
        load_bundle(copy)
    assert caught.value.reason == "BUNDLE_CORRUPT"


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError) as caught:
        load_bundle(tmp_path)
    assert caught.value.reason == "NO_CURRENT"


def test_vectors_that_are_not_finite_are_never_published(copy: Path, tmp_path: Path) -> None:
    bundle = load_bundle(copy)
    store = BundleStore(tmp_path / "other")
    with store.workspace() as folder:
        shutil.copytree(copy, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        vectors = bundle.item_vectors.copy()
        vectors[3, 1] = np.nan
        np.save(folder / files.ITEM_VECTORS, vectors)
        with pytest.raises(BundleError, match="not finite"):
            store.publish(folder, bundle.manifest)
    assert [path.name for path in store.root.iterdir()] == []
