"""The long-term vector that is served is the one that training's inputs give for the same log."""

import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.models.profile_encoder import ProfileEncoder
from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.profiles.cached import Profile
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.items import ItemContent
from groundswell.profile_service.store.profiles import Spec
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.trainer.bundle.onnx import Input, export
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.inputs.histories import ChunkTable, Histories, cut_chunks
from tests.integration.profile_service.support import Memory, open_memory
from tests.support.bundles import (
    CHUNK_LENGTH,
    CONTEXT_DIMENSION,
    DIMENSION,
    ITEMS,
    MAX_CHUNKS,
    RECENT_LENGTH,
    TEXT_DIMENSION,
    tiny_bundle,
)
from tests.support.processes import SECRET

LENGTHS = (1, 2, 4, 7, 12, 13, 30, 49, 50, 51, 200)
"""Events of each user before the last one."""
USERS = len(LENGTHS)
NEW_ITEMS = 4
"""Items of the log that the bundle does not know."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle around a profile head that was exported as training exports it."""
    root = tmp_path_factory.mktemp("bundles")
    tiny = load_bundle(tiny_bundle(root, items=ITEMS[:-NEW_ITEMS]))
    store = BundleStore(root)
    with store.workspace() as folder:
        shutil.copytree(tiny.path, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        export_profile(folder / files.PROFILE_HEAD)
        bundle_id = store.publish(folder, tiny.manifest.model_copy(update={"files": {}}))
    return store.load(bundle_id)


def export_profile(path: Path) -> None:
    torch.manual_seed(1)
    encoder = ProfileEncoder(
        DIMENSION,
        TEXT_DIMENSION,
        CONTEXT_DIMENSION,
        MAX_CHUNKS,
        RECENT_LENGTH,
        width=16,
        num_blocks=1,
        num_heads=2,
        dropout=0.0,
    ).eval()
    # Training begins with texts that say nothing; here they shall count.
    nn.init.normal_(encoder.out_text.weight)
    inputs = {
        "chunk_vectors": torch.randn(2, 3, TEXT_DIMENSION),
        "chunk_ages": torch.rand(2, 3),
        "num_chunks": torch.tensor([3, 0]),
        "recent_vectors": torch.randn(2, 4, CONTEXT_DIMENSION),
        "recent_actions": torch.ones(2, 4, dtype=torch.int64),
        "recent_gaps": torch.rand(2, 4),
        "recent_starts": torch.zeros(2, 4),
        "recent_lengths": torch.tensor([4, 1]),
    }
    length_of = {"chunk": "chunks", "recent": "events"}
    dims = [
        Input(name, ("batch", length_of[name.split("_")[0]]) if value.ndim > 1 else ("batch",))
        for name, value in inputs.items()
    ]
    export(encoder, path, dims, "long_vectors", [tuple(inputs.values())])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A random log of sessions, some of whose events happen at once."""
    folder = tmp_path_factory.mktemp("log")
    rng = np.random.default_rng(5)
    rows = ["user_id,item_id,action,timestamp"]
    for user in range(USERS):
        time = 1_700_000_000 + int(rng.integers(40_000))
        for _ in range(LENGTHS[user] + 1):
            time += int(rng.choice([0, 40, 4_000], p=[0.2, 0.5, 0.3]))
            item_id = ITEMS[int(rng.integers(len(ITEMS)))][0]
            rows.append(f"u{user},{item_id},{rng.choice(['view', 'like'])},{time}")
    (folder / "events.csv").write_text("\n".join(rows))
    items = [f"{item_id},{title},{'|'.join(names)}" for item_id, title, names in ITEMS]
    (folder / "items.csv").write_text("\n".join(["item_id,title,categories", *items]))
    prepare(folder / "events.csv", folder / "items.csv", folder / "prepared")
    return load_prepared(folder / "prepared")


@pytest.fixture
async def memory(tmp_path: Path, bundle: Bundle) -> AsyncIterator[Memory]:
    opened = await open_memory(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}", bundle.path.parent)
    contents = [ItemContent(i, title, "", list(names)) for i, title, names in ITEMS]
    await opened.catalogue.upsert(contents)
    yield opened
    await opened.database.close()


def trained_on(
    bundle: Bundle, prepared: Prepared, events: NDArray[np.int64], *, text: bool = True
) -> NDArray[np.float32]:
    """[n, d] what the bundle's head says of the histories before events, as training reads them."""
    manifest = bundle.manifest
    chunks = cut_chunks(prepared, manifest.chunk_length)
    encode = bundle.text_encoder().encode
    table = ChunkTable(prepared, chunks, encode(chunks.texts))
    histories = Histories(prepared, table, manifest.max_chunks, manifest.recent_length)
    histories = histories if text else histories.without_text()
    rows = np.array([bundle.rows.get(item_id, -1) for item_id in prepared.item_ids], np.int64)
    contexts = bundle.context_head().run(text_vectors=encode(prepared.texts), rows=rows)
    return bundle.profile_head().run(**histories.before(events).named(contexts))


def event_of(prepared: Prepared, user: int, n: int) -> NewEvent:
    item_id = prepared.item_ids[prepared.items[n]]
    action, time_us = int(prepared.actions[n]), int(prepared.times_us[n])
    return NewEvent(
        prepared.user_ids[user], f"e{n}", EventContent(item_id, action, None, time_us, n, "", "")
    )


def opened(bundle: Bundle) -> ProfileModels:
    return ProfileModels(
        bundle,
        1,
        max_batch=32,
        max_queue=64,
        max_items=100,
        max_item_bytes=1_000_000,
        max_text_bytes=1_000_000,
        max_queue_bytes=1_000_000,
    )


@pytest.fixture
async def profiles(memory: Memory) -> Profiles:
    return Profiles(memory.database, Pseudonymizer(SECRET), max_cached=100, max_bytes=1_000_000)


def vectors_of(served: Sequence[Profile]) -> NDArray[np.float32]:
    return np.array([profile.vector for profile in served])


async def test_a_served_vector_is_that_of_training_however_the_events_came(
    bundle: Bundle, prepared: Prepared, memory: Memory, profiles: Profiles
) -> None:
    models = opened(bundle)
    worker = memory.worker(bundle.text_encoder(), spec=models.spec)
    last = prepared.offsets[1:] - 1
    rng = np.random.default_rng(7)
    # Each batch but the first has events that belong among those before it.
    batch_of = rng.integers(3, size=len(prepared.items))
    for batch in range(3):
        for user in range(USERS):
            places = range(int(prepared.offsets[user]), int(last[user]))
            new = [event_of(prepared, user, n) for n in places if batch_of[n] == batch]
            await memory.log.append(new)
        while await worker.step():
            pass
        served = await profiles.get(prepared.user_ids, models)
    vectors = vectors_of(served)
    np.testing.assert_allclose(vectors, trained_on(bundle, prepared, last), rtol=1e-3, atol=1e-4)
    assert np.ptp(vectors, axis=0)[:-1].min() > 0.01
    assert not any(profile.text_pending for profile in served)
    await worker.close()
    await models.close()


async def test_a_vector_is_served_at_once_and_texts_join_it_where_the_bundle_reads_them(
    bundle: Bundle, prepared: Prepared, memory: Memory, profiles: Profiles
) -> None:
    skip = bundle.manifest.model_copy(update={"history_text": HistoryTextSpec(mode="skip")})
    reading, skipping = opened(bundle), opened(Bundle("skips", bundle.path, skip))
    last = prepared.offsets[1:] - 1
    textless = trained_on(bundle, prepared, last, text=False)

    async def check(models: ProfileModels, due: NDArray[np.float32], *, pending: bool) -> None:
        served = await profiles.get(prepared.user_ids, models)
        np.testing.assert_allclose(vectors_of(served), due, rtol=1e-3, atol=1e-4)
        expected = [pending and length >= CHUNK_LENGTH for length in LENGTHS]
        assert [profile.text_pending for profile in served] == expected

    async def work(spec: Spec) -> None:
        worker = memory.worker(bundle.text_encoder(), spec=spec)
        while await worker.step():
            pass
        await worker.close()

    await work(skipping.spec)  # the items
    order = np.random.default_rng(8)
    for user in range(USERS):
        places = order.permutation(np.arange(prepared.offsets[user], last[user]))
        await memory.log.append([event_of(prepared, user, int(n)) for n in places])
    await check(reading, textless, pending=True)
    await check(skipping, textless, pending=False)
    for spec in (skipping.spec, reading.spec):
        await work(spec)
        await check(skipping, textless, pending=False)
        read = spec == reading.spec
        due = trained_on(bundle, prepared, last) if read else textless
        await check(reading, due, pending=not read)
    # Texts count, so the two states differ where there is any.
    differs = np.abs(due - textless).max(axis=1) > 1e-3
    assert differs.tolist() == [length >= CHUNK_LENGTH for length in LENGTHS]
    await reading.close()
    await skipping.close()
