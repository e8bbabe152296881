"""Whether a log looks sequential is told from logs that are, and that are not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.evaluation.signals import advice, log_signals, print_signals
from tests.unit.trainer.logs import log, write

NUM_ITEMS, USERS, LENGTH = 200, 300, 12
RNG = np.random.default_rng(4)


def of_items(folder: Path, histories: list[list[int]], split: Split = Split.NONE) -> Prepared:
    rows = [
        f"u{user:04},i{item:03},view,{10 * n}"
        for user, items in enumerate(histories)
        for n, item in enumerate(items)
    ]
    catalogue = "item_id,title\n" + "".join(f"i{n:03},Item {n}\n" for n in range(NUM_ITEMS))
    events = write(folder / "events.csv", log(*rows))
    prepare(events, write(folder / "items.csv", catalogue), folder / "out", split=split)
    return load_prepared(folder / "out")


def chains() -> list[list[int]]:
    """After an item mostly comes the one with the next number."""
    return [
        [(start + n) % NUM_ITEMS for n in range(LENGTH)] for start in RNG.integers(200, size=USERS)
    ]


def bags() -> list[list[int]]:
    """Items of one group of 20, in any order."""
    groups = RNG.integers(10, size=USERS)
    return [(20 * group + RNG.permutation(20)[:LENGTH]).tolist() for group in groups]


def test_a_log_of_chains_looks_sequential(tmp_path: Path) -> None:
    found = log_signals(of_items(tmp_path, chains()))
    assert (found["targets"], found["new_targets"], found["repeats"]) == (USERS, USERS, 0)
    assert found["order"]["verdict"] == "sequential"
    assert found["order"]["ci95"][0] > 0.25
    models = found["models"]
    assert models["next item"]["hr@10"] > 0.95 > models["popularity"]["hr@10"]
    assert any("looks sequential" in sentence for sentence in advice(found))


def test_a_log_of_bags_does_not_look_sequential(tmp_path: Path) -> None:
    found = log_signals(of_items(tmp_path, bags()))
    assert found["order"]["verdict"] == "not sequential"
    # Yet histories say much: those of a group have the same items.
    assert found["models"]["next item, shuffled"]["hr@10"] > 0.5
    assert any("window_length" in sentence for sentence in advice(found))


def test_what_is_held_out_is_not_looked_at(tmp_path: Path) -> None:
    data = of_items(tmp_path, chains(), Split.LEAVE_ONE_OUT)
    other = replace(data, items=data.items.copy())
    held_out = data.split_of > 0
    other.items[held_out] = RNG.integers(NUM_ITEMS, size=int(held_out.sum()))
    # Candidates are the items of the training part, so none of those others is one.
    assert log_signals(other) == log_signals(data)


def test_repeats_are_told_and_left_out_of_the_ranks(tmp_path: Path) -> None:
    histories = [[*items[:5], items[4]] for items in chains()]
    found = log_signals(of_items(tmp_path, histories))
    assert (found["repeats"], found["repeats_last"], found["models"]) == (1, 1, None)
    said = list(advice(found))
    assert "too few to tell" in said[0]
    assert "100% of the events are on an item that the user had before" in said[1]


@pytest.mark.parametrize("histories", [[[1]], [[1, 2], [3]], [[1, 2, 3]]])
def test_a_log_that_is_too_small_gets_no_verdict(
    tmp_path: Path, histories: list[list[int]]
) -> None:
    found = log_signals(of_items(tmp_path, histories))
    assert (found["models"], found["order"]) == (None, None)
    print_signals(json.loads(json.dumps(found)), Console(file=(tmp_path / "said").open("w")))
    assert "too few to tell" in (tmp_path / "said").read_text()
