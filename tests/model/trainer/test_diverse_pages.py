"""Diversity on trained vectors: the pages of many users differ more with every step."""

from dataclasses import replace

import numpy as np

from groundswell.artifacts.store import load_bundle
from groundswell.ranker_service.pipeline import Pipeline
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.ranker_service.stages.page_controls import Controls
from groundswell.trainer.dataset.prepared import load_prepared
from groundswell.trainer.evaluation.bundle_items import Candidates, bundle_items
from groundswell.trainer.evaluation.evaluate import PARTS
from groundswell.trainer.evaluation.metrics import MetricInputs, diversity
from groundswell.trainer.evaluation.models import BundleModels
from groundswell.trainer.evaluation.opened import item_index, log_neighbours
from groundswell.trainer.ranking.targets import choose_targets
from tests.support.trained import trained_bundle

K = 10


def test_diversity_raises_the_distances_within_lists_at_every_step() -> None:
    made = trained_bundle()
    bundle, prepared = load_bundle(made.bundles), load_prepared(made.data)
    events = choose_targets(prepared, PARTS["test"], include_seen=False).events
    candidates, encode = Candidates.of(prepared), bundle.text_encoder().encode
    items = bundle_items(bundle, prepared, candidates, encode)
    models = BundleModels(bundle, prepared, events, items.vectors, encode)
    fusion = Fusion(bundle.fusion_model(), bundle.manifest.fusion)
    index = item_index(bundle, prepared, candidates, items)
    pipeline = Pipeline(fusion, log_neighbours(bundle, prepared), index, items.popularity)
    inputs = models.inputs("fused", slice(0, len(events)), K)
    assert len(inputs) > 100

    def mean_distance(share: float) -> float:
        controls = Controls(diversity=share)
        pages = pipeline.rank([replace(one, controls=controls) for one in inputs])
        lists = np.stack([page.ids for page in pages])
        ranks, counts = np.zeros(len(lists), np.int64), np.zeros(len(items.vectors))
        measured = MetricInputs(ranks, lists, counts, items.vectors)
        return float(diversity(measured).mean())

    found = [mean_distance(share) for share in np.linspace(0, 1, 6)]
    assert (np.diff(found) > 0).all(), found
