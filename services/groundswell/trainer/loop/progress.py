"""Shows the progress of long work: bars in a terminal, elsewhere a line every half minute."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, Task, TextColumn, TimeElapsedColumn

EVERY_S = 30.0
"""Seconds between two lines where the output is no terminal."""


class Display(Progress):
    """rich's bars. A console that is no terminal shows them at the end, and lines until then.

    `name` is the text of a line when no task is under way. A task may have a field `note`.
    """

    def __init__(
        self,
        *columns: Any,
        console: Console,
        name: str,
        disable: bool = False,
        shows_end: bool = True,
    ) -> None:
        """With `shows_end` off a console that is no terminal gets the lines alone."""
        hidden = disable or not (shows_end or console.is_interactive)
        super().__init__(*columns, console=console, disable=hidden)
        self._name = name
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._lines: threading.Thread | None = None
        if not disable and not console.is_interactive:
            self._lines = threading.Thread(target=self._write_lines, name="progress", daemon=True)

    def __enter__(self) -> Self:
        super().__enter__()
        if self._lines is not None:
            self._lines.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._ended.set()
        if self._lines is not None:
            self._lines.join()
        super().__exit__(*raised)

    def _write_lines(self) -> None:
        while not self._ended.wait(EVERY_S):
            minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
            line = f"{minutes}:{seconds:02d}  {self._state()}"
            self.console.print(escape(line), highlight=False, soft_wrap=True)

    def _state(self) -> str:
        """Return the newest task that is under way, in words."""
        under_way = [task for task in self.tasks if not task.finished]
        return _in_words(under_way[-1]) if under_way else self._name


def _in_words(task: Task) -> str:
    words = str(task.description).strip()
    if task.total:
        words += f": {int(task.completed):,} of {int(task.total):,}"
    elif task.completed:
        words += f": {int(task.completed):,}"
    if note := task.fields.get("note"):
        words += f", {note}"
    if task.total and task.time_remaining:
        minutes, seconds = divmod(round(task.time_remaining), 60)
        words += f", {minutes}:{seconds:02d} left at this rate"
    return words


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """Show work of unknown length. Where the output is a file, short work writes no line."""
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Display(*columns, console=console, name=what, shows_end=False) as display:
        task = display.add_task(what, total=None)
        yield
        display.update(task, total=1, completed=1)
