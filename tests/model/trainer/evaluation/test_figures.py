"""What an evaluation reports has the agreed form, and counts what was ranked."""

import json
from typing import Any

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepared import TEST, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.evaluate import BASELINES, Compared, evaluate
from groundswell.trainer.evaluation.metrics import CUTOFFS
from groundswell.trainer.evaluation.models import MODELS
from groundswell.trainer.ranking.metrics import gains, hits
from tests.support.bundles import CATEGORIES, ITEMS
from tests.support.random_log import USERS

NEW_ITEMS = 3
ROUNDING = 1e-12
"""How sums are rounded depends on what is summed beside them."""


def flat(figures: Any, name: str = "") -> dict[str, float]:
    """Name each number of nested figures."""
    if not isinstance(figures, dict | list):
        return {name: figures}
    parts = figures.items() if isinstance(figures, dict) else enumerate(figures)
    return {k: v for key, part in parts for k, v in flat(part, f"{name}/{key}").items()}


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
    popularity, found = figures["models"]["popularity"], np.array(ranks)
    for k in CUTOFFS:
        assert popularity[f"ndcg@{k}"] == pytest.approx(gains(found, k).mean())
        assert popularity[f"hr@{k}"] == popularity[f"recall@{k}"]
        assert popularity[f"hr@{k}"] == pytest.approx(hits(found, k).mean())
    assert popularity["mrr"] == pytest.approx((1 / found).mean())


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
    assert flat(found["models"]["single"]) == pytest.approx(
        flat(figures["models"]["short"]), rel=ROUNDING
    )
    assert found["compared"] == {"single": {"bundle_id": bundle.id, "model": "short"}}
    pairs = {(one["a"], one["b"]) for one in found["paired"]}
    assert ("fused", "single") in pairs
    with pytest.raises(DataError, match="two models are called long"):
        evaluate(bundle, prepared, compare=[Compared("long", bundle, "short")])


def test_the_constant_of_the_manifest_is_what_constant_ranks_with(
    bundle: Bundle, prepared: Prepared
) -> None:
    def with_alpha(alpha: float, mode: str) -> Bundle:
        spec = bundle.manifest.fusion.model_copy(update={"constant_alpha": alpha, "mode": mode})
        manifest = bundle.manifest.model_copy(update={"fusion": spec})
        return Bundle(bundle.id, bundle.path, manifest)

    long = evaluate(with_alpha(0.0, "learned"), prepared)["models"]
    assert flat(long["constant"]) == pytest.approx(flat(long["long"]), rel=ROUNDING)
    assert flat(long["long"]) != pytest.approx(flat(long["short"]), rel=ROUNDING)
    short = evaluate(with_alpha(1.0, "constant"), prepared)["models"]
    for model in ("constant", "fused"):
        assert flat(short[model]) == pytest.approx(flat(short["short"]), rel=ROUNDING)


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
