"""Which targets of which logs can be evaluated, and which cannot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import TEST, VALIDATION, Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.evaluation.models import MODELS
from tests.support.bundles import CATEGORIES, ITEMS
from tests.support.random_log import USERS, random_log


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


def test_with_seen_items_every_target_counts(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any]
) -> None:
    everyone = evaluate(bundle, prepared, include_seen=True)
    assert everyone["targets"] == USERS
    assert everyone["left_out_seen"] == 0
    assert everyone["models"] != figures["models"]


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
