"""A progress bar shows how fast the work goes, and how long it still takes."""

from io import StringIO

from rich.console import Console

from groundswell.cli.display.progress import progress_bar


def test_a_bar_shows_the_rate_and_the_time_left() -> None:
    out, now_s = StringIO(), [0.0]
    console = Console(file=out, force_terminal=True, width=120, get_time=lambda: now_s[0])
    with progress_bar(console, "users") as update:
        for now_s[0], done in ((1.0, 100), (2.0, 300)):
            update(done, 1_000)
    assert "200/s, 0:00:04 left" in out.getvalue()
