"""One log of all services: each line follows its service's name, in a colour of its own."""

from collections.abc import Callable
from typing import IO

from rich.console import Console
from rich.text import Text

_STYLES = {"profile": "cyan", "session": "green", "ranker": "magenta"}
_WIDTH = max(len(name) for name in _STYLES)


def to_console(console: Console) -> Callable[[str, str], None]:
    """Write lines to a console as they come."""

    def write(name: str, line: str) -> None:
        prefix = Text(f"{name:>{_WIDTH}} │ ", style=_STYLES.get(name, "white"))
        console.print(prefix + Text.from_ansi(line), soft_wrap=True)

    return write


def to_file(file: IO[str]) -> Callable[[str, str], None]:
    """Write lines to an open file as they come."""

    def write(name: str, line: str) -> None:
        file.write(f"{name:>{_WIDTH}} │ {line}\n")
        file.flush()

    return write
