"""Work whose output goes to a file says how far it is, at intervals."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import TextColumn

from groundswell.cli.display.progress import progress_bar
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.loop import progress
from groundswell.trainer.loop.progress import Display, working
from groundswell.trainer.loop.run import open_run
from tests.support.waiting import eventually

WAIT_S = 20.0


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.02)


def until_said(file: io.StringIO, words: str) -> None:
    eventually(lambda: words in file.getvalue(), WAIT_S, file.getvalue)


@pytest.mark.usefixtures("soon")
def test_a_file_gets_lines_while_the_work_goes_on() -> None:
    file = io.StringIO()
    with progress_bar(Console(file=file), "events") as update:
        update(1_500, 20_000)
        until_said(file, "0:00  events: 1,500 of 20,000\n")
    assert "20000" in file.getvalue().splitlines()[-1], "and the bar at the end"


@pytest.mark.usefixtures("soon")
def test_work_of_unknown_length_says_that_it_goes_on() -> None:
    file = io.StringIO()
    with working(Console(file=file), "evaluating"):
        until_said(file, "0:00  evaluating\n")


@pytest.mark.usefixtures("soon")
def test_a_training_says_its_stage_and_its_loss_and_between_stages_that_it_goes_on(
    tmp_path: Path,
) -> None:
    file = io.StringIO()
    with open_run(TrainConfig(), "cpu", 0, tmp_path, Console(file=file)) as run:
        until_said(file, "  training\n")
        with run.stage("views", 60) as stage:
            stage.report(1, 2.5, 0.125)
            until_said(file, "  views: 1 of 60, loss 2.500, validation NDCG@10 0.1250\n")
            time.sleep(0.1)
            stage.report(2, 2.0, 0.25)
            until_said(file, "  views: 2 of 60, loss 2.000, validation NDCG@10 0.2500, 0:")
            until_said(file, " left at this rate\n")
        with run.work("neighbours"):
            until_said(file, "  neighbours: 0 of 1\n")


@pytest.mark.usefixtures("soon")
def test_a_terminal_gets_no_lines() -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True)
    with Display(TextColumn("x"), console=terminal, name="work") as display:
        display.add_task("stage", total=3)
        time.sleep(0.1)
    assert "0:00  stage" not in file.getvalue()


def test_a_line_comes_every_half_minute() -> None:
    assert progress.EVERY_S == 30.0
