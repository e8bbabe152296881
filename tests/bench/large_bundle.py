"""A bundle of a large catalogue: that of the trained world, with more items."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import BundleStore, load_bundle
from tests.bench.large import built_index, index_path
from tests.bench.world import world


def item_id(n: int) -> str:
    """Name an item; the first ones are those of the world."""
    items = world().items
    name = items[n % len(items)][0]
    return name if n < len(items) else f"{name}-{n}"


def large_bundle(folder: Path, num_items: int) -> Bundle:
    """Publish it into a folder: each item has the neighbours of the item that it was made of."""
    trained, built = load_bundle(world().bundles), built_index(num_items)
    vectors, parents = built.catalogue.vectors, built.catalogue.parents
    store = BundleStore(folder)
    with store.workspace() as work:
        for name in trained.manifest.files:
            (work / name).parent.mkdir(exist_ok=True)
            if name not in (files.CANARY, files.INDEX):
                shutil.copy(trained.path / name, work / name)
        shutil.copy(index_path(num_items), work / files.INDEX)
        np.save(work / files.ITEM_VECTORS, vectors)
        ids = pl.DataFrame({"item_id": [item_id(n) for n in range(num_items)]})
        ids.write_parquet(work / files.ITEMS)
        popular = ids.with_columns(popularity=trained.popularity[parents])
        popular.write_parquet(work / files.POPULARITY)
        if trained.manifest.neighbours is not None:
            np.save(work / files.NEIGHBOUR_ROWS, trained.neighbour_rows[parents])
            np.save(work / files.NEIGHBOUR_SIMILARITIES, trained.neighbour_similarities[parents])
        manifest = trained.manifest.model_copy(update={"canary": None, "index_kind": built.kind})
        bundle_id = store.publish(work, manifest)
    store.set_current(bundle_id)
    return store.load(bundle_id)
