"""Evaluation runs the exported models as the servers do, by item id, and reports honestly."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.features.chunks import chunk_ages
from groundswell.features.gate import gate_features
from groundswell.features.text import chunk_text
from groundswell.features.window import session_length, session_starts, window_tensors
from groundswell.trainer.data import TEST, Prepared, load_prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.candidates import candidates_of
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.evaluation.metrics import hit_rate, mrr, ndcg
from groundswell.trainer.evaluation.ranks import MODELS, items_before
from groundswell.trainer.evaluation.views import BundleViews
from groundswell.trainer.prepare import prepare
from groundswell.trainer.splits import Split
from tests.support.bundles import CATEGORIES, CHUNK_LENGTH, ITEMS, MAX_CHUNKS, tiny_bundle
from tests.support.bundles import WINDOW_LENGTH as L

USERS = 40
NEW_ITEMS = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles"), items=ITEMS[:-NEW_ITEMS]))


def make(
    folder: Path,
    items: Sequence[tuple[str, str, tuple[str, ...]]],
    *,
    split: Split = Split.LEAVE_ONE_OUT,
    positions: bool = False,
    seed: int = 5,
) -> Prepared:
    """A random log over the first items of a tiny bundle; the last of `items` have no event."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        time = 1_700_000_000 + int(rng.integers(40_000))
        for n in range(int(rng.integers(3, 35))):
            time += int(rng.choice([40, 4_000], p=[0.8, 0.2]))
            item = ITEMS[int(rng.integers(len(ITEMS) - 2))][0]
            rows.append(f"u{user},{item},{rng.choice(['view', 'like'])},{n if positions else time}")
    events, catalogue = folder / "events.csv", folder / "items.csv"
    events.write_text("\n".join(["user_id,item_id,action,timestamp", *rows]))
    lines = [f"{item_id},{title},{'|'.join(names)}" for item_id, title, names in items]
    catalogue.write_text("\n".join(["item_id,title,categories", *lines]))
    prepare(events, catalogue, folder / "prepared", split=split)
    return load_prepared(folder / "prepared")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return make(tmp_path_factory.mktemp("log"), ITEMS)


def views_of(bundle: Bundle, prepared: Prepared) -> BundleViews:
    encode = bundle.text_encoder().encode
    return BundleViews(bundle, prepared, candidates_of(bundle, prepared, encode).vectors, encode)


def test_the_figures_have_the_agreed_form_and_count_what_was_ranked(
    bundle: Bundle, prepared: Prepared
) -> None:
    figures = evaluate(bundle, prepared)
    assert set(figures["models"]) == set(MODELS)
    for one in figures["models"].values():
        assert set(one) == {"hr@10", "ndcg@10", "mrr"}
        assert all(0 <= value <= 1 for value in one.values())
    assert set(figures["interests"]) == {"accuracy", "recall", "f1"}
    assert figures["split"] == "leave-one-out"
    assert figures["targets"] == figures["users"] == USERS - figures["left_out_seen"]
    assert 0 < figures["left_out_seen"] < USERS
    assert figures["items"] == len(ITEMS)
    assert figures["candidates"] == len(ITEMS) - 2
    assert figures["candidates_by_text_alone"] == NEW_ITEMS - 2
    json.dumps(figures, allow_nan=False)


def test_popularity_is_what_the_bundle_counted_with_ties_against_the_target(
    bundle: Bundle, prepared: Prepared
) -> None:
    counts = dict(zip(bundle.item_ids, bundle.popularity.tolist(), strict=True))
    events = set(prepared.items.tolist())
    scores = np.array([counts.get(name, 0.0) for name in prepared.item_ids])
    ranks = []
    for event in np.flatnonzero(prepared.target == TEST).tolist():
        before = set(items_before(prepared, event).tolist())
        target = prepared.items[event]
        if target not in before:
            ranks.append(sum(scores[item] >= scores[target] for item in events - before))
    found = np.array(ranks)
    assert evaluate(bundle, prepared)["models"]["popularity"] == {
        "hr@10": pytest.approx(hit_rate(found, 10)),
        "ndcg@10": pytest.approx(ndcg(found, 10)),
        "mrr": pytest.approx(mrr(found)),
    }


def test_the_constant_of_the_manifest_is_what_constant_ranks_with(
    bundle: Bundle, prepared: Prepared
) -> None:
    def with_alpha(alpha: float, mode: str) -> Bundle:
        spec = bundle.manifest.fusion.model_copy(update={"constant_alpha": alpha, "mode": mode})
        manifest = bundle.manifest.model_copy(update={"fusion": spec})
        return Bundle(bundle.id, bundle.path, manifest)

    long = evaluate(with_alpha(0.0, "learned"), prepared)["models"]
    assert long["constant"] == long["long"] != long["short"]
    short = evaluate(with_alpha(1.0, "constant"), prepared)["models"]
    assert short["constant"] == short["fused"] == short["short"]


def test_with_seen_items_every_target_counts(bundle: Bundle, prepared: Prepared) -> None:
    figures = evaluate(bundle, prepared, include_seen=True)
    assert figures["targets"] == USERS
    assert figures["left_out_seen"] == 0
    assert figures["models"] != evaluate(bundle, prepared)["models"]


def test_the_views_are_those_that_the_servers_would_compute(
    bundle: Bundle, prepared: Prepared
) -> None:
    """Once more, for one user at a time, with the functions that the services use."""
    manifest, encoder = bundle.manifest, bundle.text_encoder()
    events = np.flatnonzero(prepared.target == TEST)[:12]
    views = views_of(bundle, prepared).before(events)
    vectors = candidates_of(bundle, prepared, encoder.encode).vectors
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
        np.testing.assert_allclose(views.short[b], short[0], rtol=1e-4, atol=1e-5)
        full = len(items) // CHUNK_LENGTH
        shown = range(max(full - MAX_CHUNKS, 0), full)
        chunks = [items[k * CHUNK_LENGTH : (k + 1) * CHUNK_LENGTH] for k in shown]
        ends = [times[(k + 1) * CHUNK_LENGTH - 1] for k in shown]
        stored = np.zeros((1, 1, manifest.text.dimension), np.float32)
        if chunks:
            texts = [chunk_text([prepared.titles[i] for i in chunk]) for chunk in chunks]
            stored = encoder.encode(texts).astype(np.float16).astype(np.float32)[None]
        tail = items[full * CHUNK_LENGTH :]
        pooled = np.zeros(manifest.text.dimension, np.float32)
        if len(tail):
            pooled = encoder.encode([prepared.texts[i] for i in tail]).mean(axis=0)
        ages = chunk_ages(np.array(ends or [0]), int(times[-1]), use_time=True)
        long = bundle.profile_head().run(
            chunk_vectors=stored,
            chunk_ages=(ages if chunks else np.zeros(1, np.float32))[None],
            num_chunks=np.array([len(chunks)]),
            tail_vectors=pooled[None],
            tail_lengths=np.array([len(tail)]),
        )
        np.testing.assert_allclose(views.long[b], long[0], rtol=1e-3, atol=1e-4)
        now = int(prepared.times_us[event])
        features = gate_features(
            now, int(times[-1]), session_length(starts), len(items), use_time=True
        )
        np.testing.assert_allclose(views.gate_features[b], features, rtol=1e-6)


def test_no_view_knows_the_target_or_what_came_after_it(bundle: Bundle, prepared: Prepared) -> None:
    events = np.flatnonzero(prepared.target == TEST)
    items, actions = prepared.items.copy(), prepared.actions.copy()
    items[events] = (items[events] + 1) % (len(ITEMS) - 2)
    actions[events] = 6
    planted = replace(prepared, items=items, actions=actions)
    before, after = (views_of(bundle, p).before(events) for p in (prepared, planted))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_order_of_the_item_file_does_not_matter(
    bundle: Bundle, prepared: Prepared, tmp_path: Path
) -> None:
    turned = make(tmp_path, ITEMS[::-1])
    assert turned.item_ids != prepared.item_ids
    first, second = evaluate(bundle, prepared), evaluate(bundle, turned)
    for model in MODELS:
        assert first["models"][model] == pytest.approx(second["models"][model], abs=1e-6)
    assert first["interests"] == second["interests"]


def test_a_target_without_a_category_does_not_count_for_the_interests(
    bundle: Bundle, tmp_path: Path
) -> None:
    bare = [(item_id, title, ()) for item_id, title, _ in ITEMS]
    assert evaluate(bundle, make(tmp_path, bare))["interests"] is None


def test_positions_in_the_session_are_reported_apart_and_add_up(
    bundle: Bundle, prepared: Prepared
) -> None:
    figures = evaluate(bundle, prepared)
    parts = figures["session_positions"]
    assert set(parts) == {"1", "2-3", "4-"}
    assert sum(part["targets"] for part in parts.values()) == figures["targets"]
    whole = sum(part["targets"] * part["models"]["fused"]["mrr"] for part in parts.values())
    assert whole / figures["targets"] == pytest.approx(figures["models"]["fused"]["mrr"])


def test_a_bundle_of_other_data_is_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    events, items = tmp_path / "e.csv", tmp_path / "i.csv"
    rows = [f"u,other-{n},view,{1_700_000_000 + n}" for n in range(4)]
    events.write_text("\n".join(["user_id,item_id,action,timestamp", *rows]))
    items.write_text("item_id,title\nother-0,Other\n")
    prepare(events, items, tmp_path / "prepared")
    with pytest.raises(DataError, match=f"bundle {bundle.id} knows none of the items"):
        evaluate(bundle, load_prepared(tmp_path / "prepared"))


def test_a_log_without_test_targets_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test targets: its split is none"):
        evaluate(bundle, make(tmp_path, ITEMS, split=Split.NONE))


def test_a_bundle_that_reads_times_is_refused_for_a_log_of_positions(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="reads times"):
        evaluate(bundle, make(tmp_path, ITEMS, positions=True))


def test_a_bundle_without_time_features_sees_no_times(bundle: Bundle, prepared: Prepared) -> None:
    manifest = bundle.manifest.model_copy(update={"use_time": False})
    timeless = Bundle(bundle.id, bundle.path, manifest)
    events = np.flatnonzero(prepared.target == TEST)
    shifted = replace(prepared, times_us=prepared.times_us * 2)
    first, second = (views_of(timeless, p).before(events) for p in (prepared, shifted))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first.short, views_of(bundle, prepared).before(events).short)


def test_a_temporal_split_is_evaluated_at_each_users_first_event_inside(
    bundle: Bundle, tmp_path: Path
) -> None:
    log = make(tmp_path, ITEMS, split=Split.TEMPORAL)
    figures = evaluate(bundle, log, include_seen=True)
    assert figures["split"] == "temporal"
    assert figures["users"] == figures["targets"] == (log.target == TEST).sum() > 1
    assert set(CATEGORIES) == set(log.categories)


def test_when_every_target_was_seen_before_the_way_out_is_named(
    bundle: Bundle, tmp_path: Path
) -> None:
    rows = [f"u,item-0,view,{1_700_000_000 + n}" for n in range(4)]
    (tmp_path / "e.csv").write_text("\n".join(["user_id,item_id,action,timestamp", *rows]))
    (tmp_path / "i.csv").write_text("item_id,title\nitem-0,Quiet River\n")
    prepare(tmp_path / "e.csv", tmp_path / "i.csv", tmp_path / "prepared")
    with pytest.raises(DataError, match="--include-seen"):
        evaluate(bundle, load_prepared(tmp_path / "prepared"))
