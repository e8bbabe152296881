"""Targets on cold items are reported apart, and so are the same items where they train."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from groundswell.artifacts.bundle import Bundle
from groundswell.cli.display import metrics
from groundswell.trainer.dataset.prepare import Options
from groundswell.trainer.dataset.prepared import TEST, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.evaluation.report.page import write_page
from tests.support.bundles import ITEMS
from tests.support.random_log import random_log

SHARE = Options(cold_items=0.3, seed=1)


@pytest.fixture(scope="module")
def cold_log(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The same events; the item file is turned around, so that only ids name the same items."""
    return random_log(tmp_path_factory.mktemp("cold"), ITEMS[::-1], options=SHARE)


def test_every_target_of_a_log_with_cold_items_is_on_one(
    bundle: Bundle, cold_log: Prepared, tmp_path: Path
) -> None:
    figures = evaluate(bundle, cold_log)
    found = figures["cold"]
    assert found["targets"] == figures["targets"] > 0
    assert found["users"] == figures["users"]
    assert 1 < found["items"] <= cold_log.cold.sum()
    assert found["chance"]["recall@5"] == pytest.approx(5 / figures["candidates"])
    for name, one in found["models"].items():
        assert one["recall@20"] == pytest.approx(figures["models"][name]["recall@20"])
    screen = io.StringIO()
    Console(width=80, file=screen).print(metrics.table(figures))
    assert f"{figures['targets']} targets on {found['items']} cold items" in screen.getvalue()
    page = write_page(tmp_path, figures, bundle, cold_log).read_text()
    assert 'id="cold"' in page


def test_the_same_items_are_reported_where_they_train(
    bundle: Bundle, prepared: Prepared, cold_log: Prepared, figures: dict[str, Any]
) -> None:
    found = evaluate(bundle, prepared, include_seen=True, items_of=cold_log)
    names = {cold_log.item_ids[item] for item in np.flatnonzero(cold_log.cold)}
    events = np.flatnonzero(prepared.target == TEST)
    on_them = [prepared.item_ids[item] in names for item in prepared.items[events]]
    assert found["cold"]["targets"] == sum(on_them)
    assert 0 < sum(on_them) < len(events)
    assert figures["cold"] is None


def test_a_log_without_cold_items_names_none(bundle: Bundle, prepared: Prepared) -> None:
    with pytest.raises(DataError, match="has no cold items: prepare it with --cold-items"):
        evaluate(bundle, prepared, items_of=prepared)
