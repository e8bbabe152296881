"""The probe of text encoders: a language of one's own is told apart by an encoder of one's own."""

from pathlib import Path

import pytest
from rich.console import Console

from groundswell.logs.items import read_items
from groundswell.trainer.config import parse_config
from groundswell.trainer.errors import DataError
from groundswell.trainer.text_encoder.probe import (
    CHOSEN,
    DEFAULT,
    MOST_FREQUENT,
    ProbeRow,
    labelled_items,
    probe,
)
from tests.support.texts import caption_world

OWN = (
    "text_encoder.pretrain=mlm",
    "text_encoder.layers=1",
    "text_encoder.width=32",
    "text_encoder.steps=80",
    "max_tokens=32",
)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return caption_world(tmp_path_factory.mktemp("captions"), items=120).items


def probed(items: Path, folder: Path, *settings: str) -> dict[str, ProbeRow]:
    config = parse_config(settings)
    rows = probe(read_items(items), config, folder, "cpu", 0, 2, Console(quiet=True))
    return {row.name: row for row in rows}


def test_an_own_encoder_tells_what_the_default_one_cannot_read(items: Path, tmp_path: Path) -> None:
    rows = probed(items, tmp_path, *OWN)
    assert list(rows) == [MOST_FREQUENT, DEFAULT, CHOSEN]
    chosen = rows[CHOSEN]
    assert chosen.accuracy.low <= chosen.accuracy.value <= chosen.accuracy.high
    assert chosen.accuracy.value > 0.9
    assert rows[MOST_FREQUENT].accuracy.value < 0.5
    assert chosen.accuracy_above[DEFAULT].low > 0
    assert chosen.macro_f1.low > rows[MOST_FREQUENT].macro_f1.high
    trained = sorted((tmp_path / "trained").iterdir())
    assert len(trained) == 2, "one a split: no encoder has read what it is tested on"
    assert probed(items, tmp_path, *OWN) == rows
    assert sorted((tmp_path / "trained").iterdir()) == trained


def test_the_default_encoder_is_not_compared_with_itself(items: Path, tmp_path: Path) -> None:
    assert list(probed(items, tmp_path, "max_tokens=32")) == [MOST_FREQUENT, DEFAULT]


def test_categories_are_no_part_of_what_is_read(items: Path) -> None:
    labelled = labelled_items(read_items(items), 0)
    assert not any("c" in text for text in labelled.texts)
    assert labelled.categories.tolist() == [number % 4 for number in range(120)]


def test_items_without_categories_are_left_out_and_too_few_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    rows = [f"i{x},text {x},{'ab'[x % 2] if x < 12 else ''}" for x in range(20)]
    file.write_text("\n".join(["item_id,title,categories", *rows]) + "\n")
    assert len(labelled_items(read_items(file), 0).texts) == 12
    file.write_text("\n".join(["item_id,title,categories", *rows[:8]]) + "\n")
    with pytest.raises(DataError, match="8 items with a category and 2 categories"):
        labelled_items(read_items(file), 0)


def test_fine_tuning_is_refused_for_want_of_events(items: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"text_encoder\.finetune learns from events"):
        probed(items, tmp_path, "text_encoder.finetune=lora")
