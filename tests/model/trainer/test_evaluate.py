"""Evaluation runs the exported models as the servers do, by item id, and reports honestly."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.features.chunks import chunk_ages
from groundswell.features.gate import gate_features
from groundswell.features.text import chunk_text
from groundswell.features.window import session_length, session_starts, window_tensors
from groundswell.trainer.data import TEST, VALIDATION, Prepared, load_prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.candidates import Candidates, bundle_items
from groundswell.trainer.evaluation.evaluate import BASELINES, Compared, evaluate
from groundswell.trainer.evaluation.metrics import CUTOFFS, ranking_metrics
from groundswell.trainer.evaluation.views import MODELS, BundleViews
from groundswell.trainer.prepare import prepare
from groundswell.trainer.splits import Split
from tests.support.bundles import CATEGORIES, CHUNK_LENGTH, ITEMS, MAX_CHUNKS, tiny_bundle
from tests.support.bundles import WINDOW_LENGTH as L
from tests.support.random_log import USERS, random_log

NEW_ITEMS = 3
VIEWS = ("short", "short_of_session", "long", "gate_features")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles"), items=ITEMS[:-NEW_ITEMS]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return random_log(tmp_path_factory.mktemp("log"), ITEMS)


def vectors_of(
    bundle: Bundle, prepared: Prepared
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    encode = bundle.text_encoder().encode
    return bundle_items(bundle, prepared, Candidates.of(prepared), encode).vectors


def views_of(bundle: Bundle, prepared: Prepared, events: NDArray[np.int64]) -> BundleViews:
    encode = bundle.text_encoder().encode
    candidates = Candidates.of(prepared)
    return BundleViews(bundle, prepared, events, vectors_of(bundle, prepared), candidates, encode)


@pytest.fixture(scope="module")
def figures(bundle: Bundle, prepared: Prepared) -> dict[str, Any]:
    return evaluate(bundle, prepared)


def test_the_figures_have_the_agreed_form_and_count_what_was_ranked(
    figures: dict[str, Any],
) -> None:
    assert set(figures["models"]) == {*BASELINES, *MODELS}
    ranked = {"mrr"} | {f"{name}@{k}" for name in ("hr", "ndcg", "recall") for k in CUTOFFS}
    for one in figures["models"].values():
        assert set(one) == ranked | {"novelty", "diversity", "coverage", "ci95", "slices"}
        assert all(0 <= one[name] <= 1 for name in (*ranked, "coverage"))
        assert set(one["ci95"]) == ranked | {"novelty", "diversity"}
        for name, (low, high) in one["ci95"].items():
            assert low <= one[name] <= high, name
    assert figures["split"] == "leave-one-out"
    assert figures["part"] == "test"
    assert figures["targets"] == figures["users"] == USERS - figures["left_out_seen"]
    assert 0 < figures["left_out_seen"] < USERS
    assert figures["items"] == len(ITEMS)
    assert figures["candidates"] == len(ITEMS) - 2
    assert figures["candidates_by_text_alone"] == NEW_ITEMS - 2
    json.dumps(figures, allow_nan=False)


def test_popularity_is_what_the_training_part_counts_with_ties_against_the_target(
    figures: dict[str, Any], prepared: Prepared
) -> None:
    counts = np.bincount(prepared.items[prepared.split_of == 0], minlength=len(ITEMS))
    ranks = []
    for event in np.flatnonzero(prepared.target == TEST).tolist():
        begin = prepared.offsets[prepared.users[event]]
        before = set(prepared.items[begin:event].tolist())
        target = prepared.items[event]
        if target not in before:
            others = set(prepared.items.tolist()) - before
            ranks.append(sum(counts[item] >= counts[target] for item in others))
    for name, values in ranking_metrics(np.array(ranks)).items():
        assert figures["models"]["popularity"][name] == pytest.approx(values.mean())


def test_the_pairs_that_matter_are_compared_over_all_and_by_position(
    figures: dict[str, Any],
) -> None:
    paired = figures["paired"]
    models = set(figures["models"])
    assert {(one["a"], one["b"]) for one in paired} == {
        *(("fused", other) for other in models - {"fused"}),
        ("short", "short-session"),
    }
    positions = set(figures["models"]["fused"]["slices"]["position"])
    due = {"all", "position:2-10", *(f"position:{name}" for name in positions)}
    assert {one["slice"] for one in paired} == due
    for one in paired:
        if one["slice"] == "all":
            a, b = (figures["models"][one[side]][one["metric"]] for side in "ab")
        elif one["slice"] != "position:2-10":
            name = one["slice"].removeprefix("position:")
            a, b = (
                figures["models"][one[side]]["slices"]["position"][name][one["metric"]]
                for side in "ab"
            )
        else:
            continue
        assert one["diff"] == pytest.approx(a - b)
        assert one["low"] <= one["diff"] <= one["high"]
        assert 0 < one["p"] <= 1


def test_another_bundles_model_is_ranked_on_the_same_targets(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any]
) -> None:
    found = evaluate(bundle, prepared, compare=[Compared("single", bundle, "short")])
    assert found["models"]["single"] == figures["models"]["short"]
    assert found["compared"] == {"single": {"bundle_id": bundle.id, "model": "short"}}
    pairs = {(one["a"], one["b"]) for one in found["paired"]}
    assert ("fused", "single") in pairs
    with pytest.raises(DataError, match="two models are called long"):
        evaluate(bundle, prepared, compare=[Compared("long", bundle, "short")])


def test_validation_can_be_evaluated_instead_of_test(bundle: Bundle, prepared: Prepared) -> None:
    found = evaluate(bundle, prepared, part="validation", include_seen=True)
    assert found["part"] == "validation"
    assert found["targets"] == (prepared.target == VALIDATION).sum()
    as_test = replace(
        prepared,
        target=np.where(prepared.target == VALIDATION, TEST, 0),
        split_of=np.where(prepared.split_of == VALIDATION, TEST, prepared.split_of),
    )
    assert found["models"] == evaluate(bundle, as_test, include_seen=True)["models"]


def test_at_the_start_of_a_session_the_sessions_own_window_is_empty(
    bundle: Bundle, prepared: Prepared
) -> None:
    events = np.flatnonzero(prepared.target == TEST)
    views = views_of(bundle, prepared, events)
    place = prepared.session_place[events]
    nothing = bundle.session_model().run(
        item_vectors=np.zeros((1, 1, bundle.manifest.dimension), np.float32),
        actions=np.zeros((1, 1), np.int64),
        gaps=np.zeros((1, 1), np.float32),
        starts=np.zeros((1, 1), np.float32),
        lengths=np.array([0]),
    )[0]
    first = views.short_of_session[place == 1]
    np.testing.assert_allclose(first, np.tile(nothing, (len(first), 1)), atol=1e-6)
    assert 0 < len(first) < len(events)
    begin = prepared.offsets[prepared.users[events]]
    whole = place == events - begin + 1
    np.testing.assert_allclose(views.short_of_session[whole], views.short[whole], atol=1e-6)
    clipped = ~whole & (place > 1) & (place <= L)
    assert not np.allclose(views.short_of_session[clipped], views.short[clipped])


def test_under_next_session_the_profile_is_as_it_was_when_the_session_began(
    bundle: Bundle, tmp_path: Path
) -> None:
    log = random_log(tmp_path, ITEMS, split=Split.NEXT_SESSION)
    events = np.flatnonzero(log.target == TEST)
    until = log.profile_until(events)
    assert (until < events).any()
    views = views_of(bundle, log, events)
    as_events = views_of(bundle, log, until)
    np.testing.assert_allclose(views.long, as_events.long, atol=1e-6)
    assert not np.allclose(views.short, as_events.short)
    found = evaluate(bundle, log, include_seen=True)["models"]["fused"]["slices"]["position"]
    assert list(found) == ["1", "2-3", "4-10"]
    assert found["1"]["targets"] == len(np.unique(log.users[events]))


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


def test_with_seen_items_every_target_counts(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any]
) -> None:
    everyone = evaluate(bundle, prepared, include_seen=True)
    assert everyone["targets"] == USERS
    assert everyone["left_out_seen"] == 0
    assert everyone["models"] != figures["models"]


def test_the_views_are_those_that_the_servers_would_compute(
    bundle: Bundle, prepared: Prepared
) -> None:
    """Once more, for one user at a time, with the functions that the services use."""
    manifest, encoder = bundle.manifest, bundle.text_encoder()
    events = np.flatnonzero(prepared.target == TEST)[:12]
    views = views_of(bundle, prepared, events)
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
        np.testing.assert_allclose(views.short[b], short[0], rtol=1e-4, atol=1e-5)
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
    before, after = (views_of(bundle, p, events) for p in (prepared, planted))
    for name in VIEWS:
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)


def test_the_order_of_the_item_file_does_not_matter(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any], tmp_path: Path
) -> None:
    turned = random_log(tmp_path, ITEMS[::-1])
    assert turned.item_ids != prepared.item_ids
    second = evaluate(bundle, turned)
    for model in MODELS:
        for name in ("ndcg@10", "hr@50", "mrr"):
            due = pytest.approx(second["models"][model][name], abs=1e-6)
            assert figures["models"][model][name] == due
    for name in ("accuracy", "ece", "macro_f1"):
        assert figures["interests"][name] == pytest.approx(second["interests"][name])


def test_a_target_without_a_category_does_not_count_for_the_interests(
    bundle: Bundle, tmp_path: Path
) -> None:
    bare = [(item_id, title, ()) for item_id, title, _ in ITEMS]
    assert evaluate(bundle, random_log(tmp_path, bare))["interests"] is None


def test_every_kind_of_slice_is_reported_apart_and_adds_up(figures: dict[str, Any]) -> None:
    for model in figures["models"].values():
        kinds = model["slices"]
        assert set(kinds) == {"position", "session", "history", "popularity", "cold"}
        for kind, parts in kinds.items():
            assert sum(part["targets"] for part in parts.values()) == figures["targets"], kind
            whole = sum(part["targets"] * part["mrr"] for part in parts.values())
            assert whole / figures["targets"] == pytest.approx(model["mrr"])
            for part in parts.values():
                low, high = part["ci95"]["ndcg@10"]
                assert low <= part["ndcg@10"] <= high


def test_alpha_is_reported_by_what_it_may_depend_on(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any]
) -> None:
    alpha = figures["alpha"]
    events = np.flatnonzero(prepared.target == TEST)
    assert alpha["mode"] == bundle.manifest.fusion.mode == "learned"
    assert set(alpha["by"]) == {"position", "session", "since_last", "history"}
    for parts in alpha["by"].values():
        total = sum(part["targets"] for part in parts.values())
        assert total == alpha["targets"] == sum(alpha["histogram"]) <= len(events)
        mean = sum(part["targets"] * part["mean"] for part in parts.values()) / total
        assert mean == pytest.approx(alpha["mean"])


def test_interests_are_held_against_the_most_frequent_category(figures: dict[str, Any]) -> None:
    found = figures["interests"]
    assert found["gain"]["diff"] == pytest.approx(
        found["accuracy"] - found["most_frequent_accuracy"]
    )
    assert found["hit_any"] >= found["accuracy"]
    assert found["most_frequent"] in CATEGORIES
    assert sum(one["predictions"] for one in found["reliability"]) == found["targets"]
    assert 0 <= found["ece"] <= 1
    assert set(found) >= {"macro_recall", "macro_f1", "weighted_f1", "ci95"}


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
        evaluate(bundle, random_log(tmp_path, ITEMS, split=Split.NONE))


def test_a_bundle_that_reads_times_is_refused_for_a_log_of_positions(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="reads times"):
        evaluate(bundle, random_log(tmp_path, ITEMS, positions=True))


def test_a_bundle_without_time_features_sees_no_times(bundle: Bundle, prepared: Prepared) -> None:
    manifest = bundle.manifest.model_copy(update={"use_time": False})
    timeless = Bundle(bundle.id, bundle.path, manifest)
    events = np.flatnonzero(prepared.target == TEST)
    shifted = replace(prepared, times_us=prepared.times_us * 2)
    first, second = (views_of(timeless, p, events) for p in (prepared, shifted))
    for name in VIEWS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert not np.array_equal(first.short, views_of(bundle, prepared, events).short)


def test_a_temporal_split_is_evaluated_at_each_users_first_event_inside(
    bundle: Bundle, tmp_path: Path
) -> None:
    log = random_log(tmp_path, ITEMS, split=Split.TEMPORAL)
    found = evaluate(bundle, log, include_seen=True)
    assert found["split"] == "temporal"
    assert found["users"] == found["targets"] == (log.target == TEST).sum() > 1
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
