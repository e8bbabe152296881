"""Lets mkdocs show the pages as GitHub does, and warns where it does not.

mkdocs calls the functions by their names; `mkdocs.yml` names this file.
"""

import logging
import posixpath
import re
import textwrap
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

_log = logging.getLogger("mkdocs.hooks")
_GITHUB = MarkdownIt("commonmark").enable("table")
_LINK = re.compile(r"\[([^\[\]]+)\]\(([^)\s:]+)\)")
_TIGHT_LIST = re.compile(r"(?m)^((?:    .*|(?!(?:[-*|>#]|\d+\.)?\s).+)\n)(?=(?:[-*]|\d+\.) )")
_BLOCK = re.compile(r"(?ms)(^```.*?^```$)")
_BLOCK_IN_LIST = re.compile(r"(?ms)^( {2,3})```.*?^\1```$")
_COUNTED = ("<ol>", "<li>", "<pre>", "<tr>")


def on_config(config: MkDocsConfig) -> None:
    """Give headings the anchors of GitHub, and put all pages of a folder where the nav names it."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = _anchor
    config.nav = _with_folders(Path(config.docs_dir), config.nav)


def _anchor(heading: str, _: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _with_folders(pages: Path, entry: Any) -> Any:
    if isinstance(entry, list):
        return [_with_folders(pages, each) for each in entry]
    if isinstance(entry, dict):
        return {title: _with_folders(pages, each) for title, each in entry.items()}
    if not entry.endswith("/"):
        return entry
    paths = sorted((pages / entry).glob("*.md"), key=lambda p: (p.name != "README.md", p.name))
    return [path.relative_to(pages).as_posix() for path in paths]


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links that lead out of the site into their text; write lists in the older way."""
    folder = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2].partition("#")[0] or "."))
        is_code = target.startswith("..") or target.endswith((".py", ".toml"))
        return link[1] if is_code else link[0]

    parts = _BLOCK.split(_LINK.sub(shown, markdown))
    parts[::2] = [_older_lists(text) for text in parts[::2]]
    return "".join(parts)


def _older_lists(text: str) -> str:
    """Indent what is in lists by four, and leave a line before each list."""
    by_four = _BLOCK_IN_LIST.sub(
        lambda block: textwrap.indent(block[0], " " * (4 - len(block[1]))), text
    )
    return _TIGHT_LIST.sub(r"\1\n", re.sub(r"(?m)^ {2,3}(?=\S)", "    ", by_four))


def on_page_content(html: str, page: Page, **_: Any) -> None:
    """Warn of lists, blocks and tables that Markdown's older rules do not see."""
    github = _GITHUB.render(page.markdown or "")
    for tag in _COUNTED:
        if html.count(tag) != github.count(tag):
            message = "%s has %d times %s here, and %d on GitHub: indent by four, and leave a line"
            _log.warning(message, page.file.src_uri, html.count(tag), tag, github.count(tag))
