"""The picture of the report is drawn for every kind of log, and has a part for each question."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from groundswell.trainer.dataset import report_plots as report_picture
from groundswell.trainer.dataset.prepared import PICTURE, load_prepared
from groundswell.trainer.dataset.report_plots import draw_report
from groundswell.trainer.dataset.splits import Split
from tests.unit.trainer.logs import log, prepared

T = 1_700_000_000
MANY = log(*(f"u{n % 7},{'abc'[n % 3]},{['view', 'like'][n % 2]},{T + n * n}" for n in range(99)))


@pytest.mark.parametrize(
    "events",
    [
        MANY,
        log("u,a,view,0", "u,b,view,1", "v,a,like,0"),
        log(f"u,a,view,{T}"),
        log(f"u,a,view,{T}", f"u,b,view,{T}"),
        log(f"u,a,view,{T}", f"u,b,view,{T + 0.001}", f"v,b,view,{T + 9e8}"),
    ],
    ids=["times", "positions", "one event", "one time", "far apart"],
)
def test_every_log_gets_a_picture_that_is_not_blank(tmp_path: Path, events: str) -> None:
    prepared(tmp_path, events)
    path = draw_report(load_prepared(tmp_path / "out"))
    assert path == tmp_path / "out" / PICTURE
    pixels = imread(path)
    assert pixels.shape[0] > 500
    assert np.ptp(pixels) > 0.5


def test_the_picture_tells_of_users_items_time_pauses_sessions_and_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path, MANY, split=Split.NEXT_SESSION)
    drawn: list[Figure] = []

    class Kept(Figure):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)  # type: ignore[arg-type]
            drawn.append(self)

    monkeypatch.setattr(report_picture, "Figure", Kept)
    draw_report(load_prepared(tmp_path / "out"))
    titles = [axes.get_title() for axes in drawn[0].axes]
    for part in (
        "events per user: median",
        "items' popularity",
        "events over time, by set (next-session)",
        "30 min: a session's end",
        "events per session",
        "events by action",
    ):
        assert any(part in title for title in titles)
    assert [label.get_text() for label in drawn[0].axes[-1].get_yticklabels()] == ["like", "view"]


def test_a_picture_is_drawn_anew_with_the_folder(tmp_path: Path) -> None:
    prepared(tmp_path, MANY)
    draw_report(load_prepared(tmp_path / "out"))
    prepared(tmp_path, MANY)
    assert not (tmp_path / "out" / PICTURE).exists()
