"""The page of an evaluation stands alone, says what the figures say, and trusts no text."""

import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.cli.commands.compared import parse_compared
from groundswell.cli.display import metrics
from groundswell.cli.failures import CommandError
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.evaluation.evaluate import Compared, evaluate
from groundswell.trainer.evaluation.report.page import write_page
from tests.support.bundles import ITEMS, tiny_bundle
from tests.support.random_log import random_log

HOSTILE = "<script>alert(1)</script> & $x_{2}$"
CURVES = {
    "session": {"loss": [7.0, 6.5, 6.4], "ndcg": [0.05, 0.0875, 0.08]},
    "gate": {"loss": [6.0, 5.9], "ndcg": [None, None]},
}
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            if name == "id" and value is not None:
                self.ids[value] += 1
            if name in ("src", "href", "xlink:href", "srcset") and value is not None:
                self.addresses.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    items = [(item_id, f"{HOSTILE} {n}", names) for n, (item_id, _, names) in enumerate(ITEMS)]
    return random_log(tmp_path_factory.mktemp("log"), items)


@pytest.fixture(scope="module")
def figures(bundle: Bundle, prepared: Prepared) -> dict[str, Any]:
    found = evaluate(bundle, prepared, compare=[Compared("<i>other</i>", bundle, "short")])
    # As it comes back from a file.
    read: dict[str, Any] = json.loads(json.dumps(found))
    return read


def written(folder: Path, figures: dict[str, Any], bundle: Bundle, prepared: Prepared) -> str:
    return write_page(folder / "new" / "folder", figures, bundle, prepared).read_text()


def with_curves(bundle: Bundle) -> Bundle:
    training = {**bundle.manifest.training, "curves": CURVES}
    return Bundle(bundle.id, bundle.path, bundle.manifest.model_copy(update={"training": training}))


def test_the_page_needs_nothing_else_and_is_whole(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any], tmp_path: Path
) -> None:
    text = written(tmp_path, figures, with_curves(bundle), prepared)
    page = Page(text)
    assert page.open == []
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert all(one.startswith(("#", "data:image/png")) for one in page.addresses)
    assert {one[1:] for one in page.addresses if one.startswith("#")} <= set(page.ids)
    assert "@import" not in text
    assert text.count("url(") == text.count("url(#")
    assert max(page.ids.values()) == 1
    # models, slices, differences, fusion weight, interests, training, map
    assert page.tags["svg"] == 7


def test_the_page_says_what_the_figures_say(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any], tmp_path: Path
) -> None:
    words = " ".join(Page(written(tmp_path, figures, with_curves(bundle), prepared)).words)
    for name, one in figures["models"].items():
        assert name in words
        assert f"{one['ndcg@10']:.4f}" in words
    for one in figures["paired"]:
        if one["metric"] == "ndcg@10":
            assert f"{one['diff']:+.4f}" in words
    assert f"{figures['interests']['ece']:.3f}" in words
    assert "best 0.0875 in epoch 2" in words
    assert "not measured" in words


def test_texts_of_items_and_names_of_models_are_texts(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any], tmp_path: Path
) -> None:
    text = written(tmp_path, figures, bundle, prepared)
    assert "<script" not in text
    assert "<i>" not in text
    assert HOSTILE[:20] in " ".join(Page(text).words)


def test_what_was_not_measured_has_no_part_of_the_page(
    bundle: Bundle, prepared: Prepared, figures: dict[str, Any], tmp_path: Path
) -> None:
    bare = figures | {"interests": None, "alpha": None}
    page = Page(written(tmp_path, bare, bundle, prepared))
    assert page.tags["svg"] == 4
    assert not {"interests", "alpha", "curves"} & set(page.ids)


def test_the_terminal_shows_intervals_positions_and_differences(figures: dict[str, Any]) -> None:
    screen = io.StringIO()
    Console(width=80, file=screen).print(metrics.table(figures))
    shown = screen.getvalue()
    fused = figures["models"]["fused"]
    for part in (fused, *fused["slices"]["position"].values()):
        low, high = part["ci95"]["ndcg@10"]
        assert f"{part['ndcg@10']:.4f}" in shown
        assert f"{low:.3f}-{high:.3f}" in shown
    assert len(re.findall(r"fused - .*\nshort-session ", shown)) == 1
    assert len(re.findall(r"short - .*\nshort-session ", shown)) == 1
    assert f"{figures['interests']['ece']:.3f}" in shown
    assert "…" not in shown


def test_a_model_to_compare_is_named_with_its_bundle(bundle: Bundle) -> None:
    one = parse_compared(f"single={bundle.path}:short")
    assert (one.name, one.bundle.id, one.model) == ("single", bundle.id, "short")
    assert parse_compared(f"other={bundle.path}").model == "fused"
    for wrong in ("single", "=bundles", "single=", f"single={bundle.path}:best"):
        with pytest.raises(CommandError, match="--compare"):
            parse_compared(wrong)
