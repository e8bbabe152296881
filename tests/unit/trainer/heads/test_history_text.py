"""Texts of histories are read where they are clearly better, or where someone says so."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.artifacts.store import BundleStore
from groundswell.trainer.config import TrainConfig, parse_config
from groundswell.trainer.errors import DataError
from groundswell.trainer.heads.history_text import (
    choose_history_text,
    history_text_of,
    standard_error,
)
from tests.support.bundles import tiny_bundle
from tests.unit.trainer.memory import prepared_of

USERS_n = np.repeat(np.arange(100), 2)
NOISE_n = np.random.default_rng(0).normal(0, 0.1, 200)


def chosen(setting: str, more: float) -> HistoryTextSpec:
    """Compare texts that add `more`, with a noise whose mean is 0, with none."""
    skipped_n = np.full(200, 0.3)
    read_n = skipped_n + NOISE_n - NOISE_n.mean() + more
    return choose_history_text(setting, read_n, skipped_n, USERS_n)


def test_texts_are_read_when_they_add_more_than_one_standard_error() -> None:
    error = chosen("auto", 0.0).standard_error
    assert error is not None
    assert 0.003 < error < 0.012
    assert chosen("auto", 1.1 * error).mode == "read"
    assert chosen("auto", 0.9 * error).mode == "skip"
    assert chosen("auto", -1.1 * error).mode == "skip"


def test_who_asks_for_texts_gets_them_and_is_told_what_they_add() -> None:
    spec = chosen("read", -0.05)
    assert spec.mode == "read"
    assert (spec.ndcg_with, spec.ndcg_without) == pytest.approx((0.25, 0.3))
    assert spec.difference == pytest.approx(-0.05)


def test_targets_of_one_user_count_as_one_observation() -> None:
    values = np.random.default_rng(1).normal(size=50)
    alone = standard_error(values, np.arange(50))
    assert alone == pytest.approx(values.std(ddof=1) / 50**0.5)
    # Each value three times over says nothing new, when it is of the same user.
    assert standard_error(np.repeat(values, 3), np.repeat(np.arange(50), 3)) == pytest.approx(alone)
    assert standard_error(np.repeat(values, 3), np.arange(150)) < 0.6 * alone


def test_without_validation_it_is_as_in_the_current_bundle(tmp_path: Path) -> None:
    store, console = BundleStore(tmp_path), Console(quiet=True)
    everything = prepared_of([[1, 2, 3, 4], [2, 3, 4, 5]])
    assert history_text_of(store, everything, TrainConfig(), console) == "skip"
    tiny_bundle(tmp_path)
    assert history_text_of(store, everything, TrainConfig(), console) == "read"
    asked = parse_config(["history_text=skip"])
    assert history_text_of(store, everything, asked, console) == "skip"


def test_another_word_is_refused() -> None:
    with pytest.raises(DataError, match="history_text must be one of auto, read, skip"):
        parse_config(["history_text=yes"])
