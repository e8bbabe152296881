"""A progress bar for work whose size is known, or found out on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from groundswell.trainer.loop.progress import Display


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress; the context gives `update(done, of)`, with `of` 0 when it is unknown.

    Outside of a terminal it is a line every half minute, and one at the end.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Display(*columns, console=console, name=what) as progress:
        task = progress.add_task(what, total=None)

        def update(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of or None)

        yield update
