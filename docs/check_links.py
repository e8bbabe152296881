"""Checks every Markdown file: each link to a file or heading of this repository must lead there.

Usage: python docs/check_links.py [ROOT]. Links to other hosts are not followed. Exit code 1 and a
line for each broken link, else 0.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

_SKIPPED = {"build", "dist", "node_modules"}
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def broken_links(root: Path) -> list[str]:
    """Return `file: link` for every link below `root` that leads nowhere."""
    return [
        f"{page.relative_to(root)}: {link}"
        for page in _pages(root)
        for link in _links(page)
        if not _leads_somewhere(page, link)
    ]


def _pages(root: Path) -> Iterator[Path]:
    """Yield the Markdown files, but none of hidden folders and of what was built."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in _SKIPPED:
            continue
        if path.is_dir():
            yield from _pages(path)
        elif path.suffix == ".md":
            yield path


@cache
def _tokens(page: Path) -> list[Token]:
    return _MARKDOWN.parse(page.read_text(encoding="utf-8"))


def _links(page: Path) -> Iterator[str]:
    for token in _tokens(page):
        for part in token.children or ():
            target = part.attrs.get("href", part.attrs.get("src"))
            if target is not None:
                yield unquote(str(target))


def _leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z][a-z+.-]*:", link):
        return True
    file, _, anchor = link.partition("#")
    target = page.parent / file if file else page
    return target.exists() and (not anchor or (target.is_file() and anchor in _anchors(target)))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    tokens, anchors = _tokens(page), set()
    seen: Counter[str] = Counter()
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            words = "".join(part.content for part in text.children or ())
            anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return anchors


def main() -> int:
    """Check the folder of the first argument, else the working one; return the exit code."""
    broken = broken_links(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    sys.stdout.writelines(f"{line}\n" for line in broken)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
