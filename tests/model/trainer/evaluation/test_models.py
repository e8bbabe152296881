"""Evaluation reads histories as the servers do, and nothing of the target."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.features.actions import DISLIKE
from groundswell.features.chunks import chunk_ages
from groundswell.features.gate import GateFeatures, seconds_since
from groundswell.features.text import chunk_text
from groundswell.features.window import session_length, session_starts, window_tensors
from groundswell.ranker_service.pipeline import RankInput
from groundswell.trainer.dataset.prepared import TEST, Prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.evaluation.bundle_items import Candidates, bundle_items
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.evaluation.models import BundleModels
from tests.support.bundles import CHUNK_LENGTH, ITEMS, MAX_CHUNKS, tiny_bundle
from tests.support.bundles import WINDOW_LENGTH as L
from tests.support.random_log import random_log

VECTORS = ("short_vectors", "short_vectors_of_session", "long_vectors")


def vectors_of(
    bundle: Bundle, prepared: Prepared
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    encode = bundle.text_encoder().encode
    return bundle_items(bundle, prepared, Candidates.of(prepared), encode).vectors


def models_of(bundle: Bundle, prepared: Prepared, events: NDArray[np.int64]) -> BundleModels:
    encode = bundle.text_encoder().encode
    return BundleModels(bundle, prepared, events, vectors_of(bundle, prepared), encode)


def assert_read_alike(a: BundleModels, b: BundleModels) -> None:
    for name in VECTORS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    found, due = a.gate_features.logarithms(), b.gate_features.logarithms()
    np.testing.assert_array_equal(found, due)


def test_at_the_start_of_a_session_the_sessions_own_window_is_empty(
    bundle: Bundle, prepared: Prepared
) -> None:
    events = np.flatnonzero(prepared.target == TEST)
    models = models_of(bundle, prepared, events)
    place = prepared.session_place[events]
    nothing = bundle.session_model().run(
        item_vectors=np.zeros((1, 1, bundle.manifest.dimension), np.float32),
        actions=np.zeros((1, 1), np.int64),
        gaps=np.zeros((1, 1), np.float32),
        starts=np.zeros((1, 1), np.float32),
        lengths=np.array([0]),
    )[0]
    first = models.short_vectors_of_session[place == 1]
    np.testing.assert_allclose(first, np.tile(nothing, (len(first), 1)), atol=1e-6)
    assert 0 < len(first) < len(events)
    begin = prepared.offsets[prepared.users[events]]
    whole = place == events - begin + 1
    of_session, of_window = models.short_vectors_of_session, models.short_vectors
    np.testing.assert_allclose(of_session[whole], of_window[whole], atol=1e-6)
    clipped = ~whole & (place > 1) & (place <= L)
    assert not np.allclose(of_session[clipped], of_window[clipped])


def test_under_next_session_the_profile_is_as_it_was_when_the_session_began(
    bundle: Bundle, tmp_path: Path
) -> None:
    log = random_log(tmp_path, ITEMS, split=Split.NEXT_SESSION)
    events = np.flatnonzero(log.target == TEST)
    until = log.profile_until(events)
    assert (until < events).any()
    models = models_of(bundle, log, events)
    as_events = models_of(bundle, log, until)
    np.testing.assert_allclose(models.long_vectors, as_events.long_vectors, atol=1e-6)
    assert not np.allclose(models.short_vectors, as_events.short_vectors)
    found = evaluate(bundle, log, include_seen=True)["models"]["fused"]["slices"]["position"]
    assert list(found) == ["1", "2-3", "4-10"]
    assert found["1"]["targets"] == len(np.unique(log.users[events]))


def test_the_vectors_are_those_that_the_servers_would_compute(
    bundle: Bundle, prepared: Prepared
) -> None:
    """Once more, for one user at a time, with the functions that the services use."""
    manifest, encoder = bundle.manifest, bundle.text_encoder()
    events = np.flatnonzero(prepared.target == TEST)[:12]
    models = models_of(bundle, prepared, events)
    vectors = vectors_of(bundle, prepared)
    rows = np.array([bundle.rows.get(item_id, -1) for item_id in prepared.item_ids], np.int64)
    contexts = bundle.context_head().run(text_vectors=encoder.encode(prepared.texts), rows=rows)
    for b, event in enumerate(events.tolist()):
        begin = int(prepared.offsets[prepared.users[event]])
        times = prepared.times_us[begin:event]
        starts = session_starts(times)[-L:]
        items = prepared.items[begin:event]
        window = window_tensors(
            times[-L:], prepared.actions[begin:event][-L:], starts, use_time=True
        )
        short = bundle.session_model().run(
            item_vectors=vectors[items[-L:]][None],
            actions=window.actions[None],
            gaps=window.gaps[None],
            starts=window.starts[None],
            lengths=np.array([len(starts)]),
        )
        np.testing.assert_allclose(models.short_vectors[b], short[0], rtol=1e-4, atol=1e-5)
        full = len(items) // CHUNK_LENGTH
        shown = range(max(full - MAX_CHUNKS, 0), full)
        chunks = [items[k * CHUNK_LENGTH : (k + 1) * CHUNK_LENGTH] for k in shown]
        ends = [times[(k + 1) * CHUNK_LENGTH - 1] for k in shown]
        stored = np.zeros((1, 1, manifest.text.dimension), np.float32)
        if chunks:
            texts = [chunk_text([prepared.titles[i] for i in chunk]) for chunk in chunks]
            stored = encoder.encode(texts).astype(np.float16).astype(np.float32)[None]
        newest = slice(-manifest.recent_length, None)
        recent = window_tensors(
            times[newest],
            prepared.actions[begin:event][newest],
            session_starts(times)[newest],
            use_time=True,
        )
        ages = chunk_ages(np.array(ends or [0]), int(times[-1]), use_time=True)
        long = bundle.profile_head().run(
            chunk_vectors=stored,
            chunk_ages=(ages if chunks else np.zeros(1, np.float32))[None],
            num_chunks=np.array([len(chunks)]),
            recent_vectors=contexts[items[newest]][None],
            recent_actions=recent.actions[None],
            recent_gaps=recent.gaps[None],
            recent_starts=recent.starts[None],
            recent_lengths=np.array([len(recent.actions)]),
        )
        np.testing.assert_allclose(models.long_vectors[b], long[0], rtol=1e-3, atol=1e-4)
        now = int(prepared.times_us[event])
        features = GateFeatures(
            seconds_since(now, int(times[-1]), use_time=True), session_length(starts), len(items)
        )
        found = models.gate_features.logarithms()[b]
        np.testing.assert_allclose(found, features.logarithms(), rtol=1e-6)


def test_what_was_disliked_speaks_for_nothing(prepared: Prepared, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle(tmp_path, neighbours=True))
    events = np.flatnonzero(prepared.target == TEST)
    disliked = np.random.default_rng(0).random(len(prepared.items)) < 0.3
    actions = np.where(disliked, DISLIKE, prepared.actions)
    others = np.where(disliked, (prepared.items + 7) % (len(ITEMS) - 2), prepared.items)
    logs = [replace(prepared, actions=actions, items=items) for items in (prepared.items, others)]
    first, second = (models_of(bundle, log, events) for log in logs)
    liked = models_of(bundle, prepared, events)
    everything = slice(0, len(events))
    for name in ("short", "short-session", "long"):
        found, due, more = (one.inputs(name, everything, 5) for one in (first, second, liked))
        for a, b in zip(found, due, strict=True):
            assert a.window.tolist() == b.window.tolist()
            assert sorted(a.history.tolist()) == sorted(b.history.tolist())
        assert _num_read(found) < _num_read(more)


def _num_read(inputs: Sequence[RankInput]) -> int:
    return sum(int((one.window >= 0).sum()) + len(one.history) for one in inputs)


def test_no_vector_knows_the_target_or_what_came_after_it(
    bundle: Bundle, prepared: Prepared
) -> None:
    events = np.flatnonzero(prepared.target == TEST)
    items, actions = prepared.items.copy(), prepared.actions.copy()
    items[events] = (items[events] + 1) % (len(ITEMS) - 2)
    actions[events] = 6
    planted = replace(prepared, items=items, actions=actions)
    before, after = (models_of(bundle, p, events) for p in (prepared, planted))
    assert_read_alike(before, after)


def test_a_bundle_without_time_features_sees_no_times(bundle: Bundle, prepared: Prepared) -> None:
    manifest = bundle.manifest.model_copy(update={"use_time": False})
    timeless = Bundle(bundle.id, bundle.path, manifest)
    events = np.flatnonzero(prepared.target == TEST)
    shifted = replace(prepared, times_us=prepared.times_us * 2)
    first, second = (models_of(timeless, p, events) for p in (prepared, shifted))
    assert_read_alike(first, second)
    assert not np.array_equal(
        first.short_vectors, models_of(bundle, prepared, events).short_vectors
    )
