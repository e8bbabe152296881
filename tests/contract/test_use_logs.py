"""The synthetic logs of `docs/use` are what their pages say, and `prepare` reads them whole."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import load_prepared
from tests.support.pages import ROOT, commands

USES = ("shop", "video", "social", "games", "learning", "health")


def make_log(page: Path, folder: Path) -> Path:
    """Run the first command of a page in a folder; return where it wrote to."""
    python, script, *arguments = commands(page)[0].words
    assert python == "python"
    subprocess.run([sys.executable, ROOT / script, *arguments], cwd=folder, check=True, timeout=30)
    return folder / arguments[1]


@pytest.mark.parametrize("use", USES)
def test_the_log_has_the_actions_and_attributes_of_its_page_and_is_prepared_whole(
    use: str, tmp_path: Path
) -> None:
    page = ROOT / f"docs/use/{use}.md"
    log = make_log(page, tmp_path)
    with (log / "events.csv").open() as events, (log / "items.csv").open() as items:
        rows, catalogue = list(csv.DictReader(events)), list(csv.DictReader(items))
    told = set(re.findall(r"^\|[^|]+\| (\w+)", page.read_text(), re.MULTILINE)) - {"action"}
    assert {row["action"] for row in rows} <= told
    attributes = set(catalogue[0]) - {"item_id", "title", "description", "categories"}
    assert attributes <= set(re.findall(r"`(\w+)`", page.read_text()))
    prepare(log / "events.csv", log / "items.csv", tmp_path / "prepared")
    assert len(load_prepared(tmp_path / "prepared").items) == len(rows) > 1_900
    assert len((tmp_path / "prepared/left_out.csv").read_text().splitlines()) == 1


def test_an_unknown_use_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs/use/make_log.py"), "bank", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "one of shop, video" in done.stderr) == (2, True)
