"""How the demo tells what it does: chapters, each with the time since the start."""

import time

from rich.console import Console


class Story:
    """A console, and the time that has passed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """Begin another part."""
        minutes, seconds = divmod(int(self.seconds), 60)
        self.console.rule(f"{title}  ·  {minutes}:{seconds:02d}", style="dim")
