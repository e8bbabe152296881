"""The commands and programs that the pages tell people to run."""

import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)


class Command(NamedTuple):
    """One command of a page, as its words; `page` is relative to the repository."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the fenced blocks of a language in their order, also those in lists."""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.info.strip() == language:
            yield token.content


def commands(page: Path) -> list[Command]:
    """Return the commands of the `sh` blocks in their order, without comments and redirections."""
    name = page.relative_to(ROOT).as_posix()
    lines = [
        shlex.split(line, comments=True)
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [
        Command(name, tuple(takewhile(lambda word: word not in ("<", ">"), words)))
        for words in lines
        if words
    ]


def step_of_quick_start(name: str) -> tuple[str, ...]:
    """Return the arguments of the quick start's `groundswell NAME`."""
    told = commands(ROOT / "docs/quick-start.md")
    (words,) = (c.words[1:] for c in told if c.words[:2] == ("groundswell", name))
    return words
