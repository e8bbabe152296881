"""A progress bar for work whose size is known, or found out on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeElapsedColumn

from groundswell.trainer.loop.progress import Display


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, its rate and the time left.

    The context gives `update(done, of)`, with `of` 0 when it is unknown. Outside of a terminal it
    is a line every half minute, and one at the end.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Display(*columns, console=console, name=what) as progress:

        def update(done: int, of: int) -> None:
            if not progress.tasks:  # a bar of work that never began would say nothing
                progress.add_task(what, total=None, note="")
            (task,) = progress.tasks
            progress.update(task.id, completed=done, total=of or None)
            progress.update(task.id, note=_pace(task))

        yield update


def _pace(task: Task) -> str:
    """Return how many are done a second, and how long the rest takes at this rate."""
    if task.speed is None:
        return ""
    pace = f"{task.speed:,.0f}/s"
    if task.time_remaining:
        pace += f", {timedelta(seconds=round(task.time_remaining))} left"
    return pace
