"""From a log in a language that no packaged model knows to a bundle that the services load."""

from pathlib import Path

import numpy as np
from rich.console import Console

from groundswell.artifacts.store import BundleStore
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import load_prepared
from groundswell.trainer.train import train
from tests.support.texts import caption_world

SETTINGS = (
    "text_encoder.pretrain=mlm",
    "text_encoder.layers=1",
    "text_encoder.width=32",
    "text_encoder.steps=20",
    "text_encoder.finetune=lora",
    "text_encoder.finetune_steps=5",
    "max_tokens=64",
    "max_epochs=1",
    "dimension=8",
    "width=8",
    "num_blocks=1",
    "window_length=10",
    "chunk_length=4",
)


async def test_a_bundle_with_an_encoder_of_its_own_loads_in_the_profile_service(
    tmp_path: Path,
) -> None:
    world = caption_world(tmp_path)
    prepare(world.events, world.items, tmp_path / "prepared")
    prepared = load_prepared(tmp_path / "prepared")
    bundles = tmp_path / "bundles"
    bundle_id = train(prepared, bundles, parse_config(SETTINGS), "cpu", 0, Console(quiet=True))
    bundle = BundleStore(bundles).load(bundle_id)
    assert bundle.manifest.text.source == "own+mlm+lora"
    assert bundle.manifest.text.dimension == 32
    assert bundle.manifest.training["config"]["text_encoder_pretrain"] == "mlm"
    models = ProfileModels(
        bundle,
        threads=1,
        max_batch=4,
        max_queue=8,
        max_items=8,
        max_item_bytes=1_000_000,
        max_queue_bytes=1_000_000,
        max_text_bytes=1_000_000,
    )
    try:
        ((encoded,), _) = await models.texts.encode([prepared.texts[5]])
        rows = np.array([5])
        vectors = await models.item_vectors(encoded.vector[None], rows)
    finally:
        await models.close()
    assert encoded.unknown_share == 0
    np.testing.assert_allclose(vectors[0], bundle.item_vectors[5], atol=1e-4)
