"""The store of bundles: atomic, verified, and it refuses everything that was changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts import bundle as files
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.retrieval.neighbours import Neighbours
from tests.support.bundles import CATEGORIES, DIMENSION, ITEMS, NEIGHBOURS, tiny_bundle


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
    assert bundle.text_encoder(2) is not bundle.text_encoder(1)
    assert bundle.text_encoder() is bundle.text_encoder(1)
    text = bundle.text_encoder().encode(["Quiet River. comedy"])
    vector = bundle.item_head().run(text_vectors=text, rows=np.array([0]))
    assert vector == pytest.approx(bundle.item_vectors[:1], abs=1e-5)


def test_no_file_of_a_bundle_stays_mapped(copy: Path) -> None:
    bundle = load_bundle(copy)
    vectors = bundle.item_vectors
    assert str(copy) not in Path("/proc/self/maps").read_text()
    (copy / files.ITEM_VECTORS).write_bytes(b"")
    assert np.isfinite(vectors).all()


def test_opening_a_bundle_brings_no_library_that_it_does_not_need(bundles: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from groundswell.artifacts.store import load_bundle\n"
        "load_bundle(pathlib.Path(sys.argv[1]))\n"
        "print({'pandas', 'polars', 'pyarrow.dataset', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, bundles], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


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


def _published(bundle: Path, root: Path, change: Callable[[Path], object]) -> Path:
    """Publish a copy of a bundle, linked to its files, after a change that replaces some."""
    store = BundleStore(root)
    manifest = load_bundle(bundle).manifest
    with store.workspace() as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True, copy_function=os.link)
        (folder / "manifest.json").unlink()
        change(folder)
        return store.path(store.publish(folder, manifest))


@pytest.fixture(scope="module")
def with_neighbours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("neighbours"), neighbours=True)


def test_neighbours_are_there_where_the_manifest_describes_them(
    bundles: Path, with_neighbours: Path
) -> None:
    assert Neighbours.of(load_bundle(bundles)) is None
    bundle = load_bundle(with_neighbours)
    assert bundle.manifest.neighbours == NEIGHBOURS
    neighbours = Neighbours.of(bundle)
    assert neighbours is not None
    found = neighbours.short(np.array([4]))
    assert found.rows.tolist() == [5, 6]
    assert found.scores.tolist() == [3.0 * 0.75, 3.0 * 0.25]


def _entry(name: str, value: float) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        array = np.load(folder / name)
        array[2, 1] = value
        _array(name, array)(folder)

    return change


def _array(name: str, array: NDArray[np.generic]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        np.save(folder / name, array)

    return change


def _content(content: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / files.NEIGHBOUR_ROWS).unlink()
        (folder / files.NEIGHBOUR_ROWS).write_bytes(content)

    return change


_SHAPE = (len(ITEMS), NEIGHBOURS.count)
_BAD_NEIGHBOURS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no rows": (files.NEIGHBOUR_ROWS, lambda b: (b / files.NEIGHBOUR_ROWS).unlink()),
    "no similarities": (
        files.NEIGHBOUR_SIMILARITIES,
        lambda b: (b / files.NEIGHBOUR_SIMILARITIES).unlink(),
    ),
    "empty": ("neighbours", _content(b"")),
    "text": ("neighbours", _content(b"no array at all")),
    "too few": ("int32", _array(files.NEIGHBOUR_ROWS, np.zeros((3, 3), np.int32))),
    "too many a row": (
        "float16",
        _array(files.NEIGHBOUR_SIMILARITIES, np.zeros((len(ITEMS), 4), np.float16)),
    ),
    "wide rows": ("int32", _array(files.NEIGHBOUR_ROWS, np.zeros(_SHAPE, np.int64))),
    "wide similarities": (
        "float16",
        _array(files.NEIGHBOUR_SIMILARITIES, np.zeros(_SHAPE, np.float32)),
    ),
    "objects": (
        "neighbours",
        _array(files.NEIGHBOUR_SIMILARITIES, np.full(_SHAPE, None, np.object_)),
    ),
    "past the end": ("not within", _entry(files.NEIGHBOUR_ROWS, len(ITEMS))),
    "below nothing": ("not within", _entry(files.NEIGHBOUR_ROWS, -2)),
    "nan": ("negative or not finite", _entry(files.NEIGHBOUR_SIMILARITIES, np.nan)),
    "infinite": ("negative or not finite", _entry(files.NEIGHBOUR_SIMILARITIES, np.inf)),
    "negative": ("negative or not finite", _entry(files.NEIGHBOUR_SIMILARITIES, -0.5)),
}


@pytest.mark.parametrize(("said", "change"), _BAD_NEIGHBOURS.values(), ids=_BAD_NEIGHBOURS)
def test_neighbours_that_do_not_fit_are_refused(
    with_neighbours: Path, tmp_path: Path, said: str, change: Callable[[Path], object]
) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        _published(with_neighbours, tmp_path, change)
    assert caught.value.reason == "BUNDLE_CORRUPT"


def test_neighbours_that_the_manifest_does_not_describe_are_refused(
    copy: Path, tmp_path: Path
) -> None:
    rows = np.zeros(_SHAPE, np.int32)
    with pytest.raises(BundleError, match="does not describe"):
        _published(copy, tmp_path / "other", _array(files.NEIGHBOUR_ROWS, rows))
