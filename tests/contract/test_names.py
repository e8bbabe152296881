"""Every module says its job in its first line, and no two classes share a name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("services", "shared", "clients/python")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_module_begins_with_a_sentence_on_its_job() -> None:
    first_lines = {
        name: (ast.get_docstring(module) or "").split("\n\n")[0].strip()
        for name, module in modules(*SOURCES, "docs", "tests")
        if module.body
    }
    assert len(first_lines) > 300
    assert [name for name, line in first_lines.items() if not line.endswith((".", "?"))] == []


def test_no_two_classes_share_a_name() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, module in modules(*SOURCES):
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{name}:{node.lineno}")
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
