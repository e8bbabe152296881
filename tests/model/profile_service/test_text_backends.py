"""Every text backend reads a real bundle's texts, and its figures say how well."""

from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.artifacts.text_sample import TEXT_SAMPLE
from groundswell.profile_service.worker.text_backends.backend import Machine
from groundswell.profile_service.worker.text_backends.choice import MIN_RECALL, choose_backend
from groundswell.profile_service.worker.text_backends.registry import BACKENDS
from groundswell.profile_service.worker.text_backends.trials import try_backends
from tests.support.bundles import own_copy


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Bundle:
    return load_bundle(bundles)


def test_fp32_passes_the_gate_whoever_computes_it_and_8_bits_do_not(bundle: Bundle) -> None:
    trials = {one.backend: one for one in try_backends(bundle, [*BACKENDS], Machine())}
    assert [one.problem for one in trials.values()] == [""] * len(BACKENDS)
    assert trials["onnx"].recall == 1.0
    # In bf16, on a processor that computes with it, it is not exact.
    assert trials["torch"].recall >= MIN_RECALL
    assert 0.3 < trials["onnx-int8"].recall < MIN_RECALL
    assert min(one.texts_per_s for one in trials.values()) > 0


def test_every_backend_keeps_the_order_and_reads_any_text(bundle: Bundle) -> None:
    texts = ["Quiet River", "", "七人の侍 " * 200, "Lost Winter", "Quiet River"]
    for backend in BACKENDS.values():
        encoder = backend.load(bundle, Machine())
        vectors = encoder.encode(texts)
        assert vectors.shape == (5, encoder.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-2)
        assert np.abs(vectors[0] - vectors[3]).max() > 0.05
        assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_bundle_of_an_earlier_release_is_encoded_in_fp32(bundles: Path, tmp_path: Path) -> None:
    bundle = load_bundle(own_copy(bundles, tmp_path / "bundles"))
    (bundle.path / TEXT_SAMPLE).unlink()
    with pytest.raises(ValueError, match="no sample"):
        try_backends(bundle, ["onnx"], Machine())
    assert choose_backend(bundle, "auto", Machine(), None) is None
