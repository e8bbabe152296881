"""Writes docs/settings.md from the settings of the services: each variable, default and meaning.

Usage: python docs/generate_settings.py [--check]. With --check it only compares; exit code 1 if the
page differs. It needs the packages of development.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from groundswell.profile_service.settings import ProfileSettings, WorkerSettings
from groundswell.ranker_service.settings import RankerSettings
from groundswell.serving.settings import PREFIX, CallingSettings, ServingSettings
from groundswell.session_service.settings import SessionSettings

TARGET = Path(__file__).parent / "settings.md"
HEAD = """# Settings
Every process reads its settings from the environment, once, at its start, prints them, and ends
with status 2 where one is wrong. `make docs` wrote this page from the code.

A service needs at least `GROUNDSWELL_SECRET` and `GROUNDSWELL_BUNDLES`; the others have defaults
that fit one machine.
"""
SECTIONS: tuple[tuple[str, type[BaseSettings], type[BaseSettings]], ...] = (
    ("All services", ServingSettings, BaseSettings),
    ("Session and ranker service", CallingSettings, ServingSettings),
    ("Profile service", ProfileSettings, ServingSettings),
    ("Encoder worker, besides those of the profile service", WorkerSettings, ProfileSettings),
    ("Session service", SessionSettings, CallingSettings),
    ("Ranker service", RankerSettings, CallingSettings),
)
"""A title, the settings, and those that an earlier section has."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def page() -> str:
    """The page in Markdown."""
    return "\n".join([HEAD, *(line for section in SECTIONS for line in _section(*section))])


def _section(title: str, cls: type[BaseSettings], known: type[BaseSettings]) -> Iterator[str]:
    yield f"## {title}\n\n| variable | default | meaning |\n|---|---|---|"
    texts = _docstrings(cls)
    for name, field in cls.model_fields.items():
        if name == "port" and cls is ServingSettings:
            continue  # each service has another default
        if name not in known.model_fields or name in cls.__annotations__:
            meaning = " ".join(filter(None, [texts.get(name, ""), _bounds(field)]))
            yield f"| `{PREFIX}{name.upper()}` | {_default(field)} | {meaning} |"
    yield ""


def _docstrings(cls: type[BaseSettings]) -> dict[str, str]:
    """By field: the text below it, of the class itself or of the nearest one above it."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if not issubclass(one, BaseSettings) or one is BaseSettings:
            continue
        [body] = [
            n.body for n in ast.parse(inspect.getsource(one)).body if isinstance(n, ast.ClassDef)
        ]
        for field, text in pairwise(body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = " ".join(str(text.value.value).split()).replace("|", "\\|")
    return found


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "must be set"
    value: Any = field.default
    if value is None:
        return "unset"
    if isinstance(value, bool | int):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple | frozenset):
        return ", ".join(f"`{one}`" for one in value)
    text = str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
    return f"`{text}`" if text else "empty"


def _bounds(field: FieldInfo) -> str:
    parts = [
        f"{word} {getattr(rule, name):,}"
        for rule in field.metadata
        for name, word in BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    return f"({', '.join(parts)})" if parts else ""


def main() -> None:
    """Write the page, or compare it."""
    text = page()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        raise SystemExit("docs/settings.md differs from the settings of the code: run `make docs`")


if __name__ == "__main__":
    main()
