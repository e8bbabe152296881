"""Each use's page works to its end: its log is made, prepared, trained on and evaluated."""

from pathlib import Path

import pytest

from tests.contract.test_use_logs import USES, make_log
from tests.support.cli import groundswell
from tests.support.pages import ROOT, commands


@pytest.mark.parametrize("use", USES)
def test_the_commands_of_a_use_train_a_bundle_that_beats_chance(use: str, tmp_path: Path) -> None:
    page = ROOT / f"docs/use/{use}.md"
    make_log(page, tmp_path)
    for command in commands(page)[1:]:
        done = groundswell(*command.words[1:], timeout=900, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    figures = tmp_path / "figures.json"
    evaluate = [*commands(page)[-1].words[1:], "--json", str(figures)]
    assert groundswell(*evaluate, timeout=900, folder=tmp_path).returncode == 0
