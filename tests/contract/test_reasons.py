"""The reasons that the contracts name are those that the code can give, in both directions.

Nothing is listed here by hand. Of the code, every reason that reaches a client is found in the
syntax tree: it is the first argument of an error with a status, the argument of a parameter that is
called `reason`, or the first of a tuple or an outcome that becomes the reason of an event.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from groundswell.common.v1 import access_pb2, event_pb2, item_pb2, model_service_pb2
from groundswell.profile.v1 import (
    catalogue_service_pb2,
    event_service_pb2,
    outcome_service_pb2,
    profile_service_pb2,
    text_service_pb2,
    user_data_service_pb2,
)
from groundswell.ranker.v1 import ranker_service_pb2
from groundswell.session.v1 import session_service_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
# The code of the processes that answer calls.
SERVED = (
    "shared/groundswell/runtime",
    "shared/groundswell/serving",
    "services/groundswell/profile_service",
    "services/groundswell/session_service",
    "services/groundswell/ranker_service",
)
BASE = "ServiceError"
REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
WORD = re.compile(r"\b[A-Z][A-Z0-9_]*[A-Z0-9]\b")
STATUSES = {code.name for code in grpc.StatusCode}


# --- what the contracts say


def documented() -> set[str]:
    """Every reason that a comment of a proto, or the table of the README, names.

    In comments a reason has an underscore, or stands in parentheses right after a status; what is
    a status or a value of an enum is none. In the README the table has a column of reasons.
    """
    named: set[str] = set()
    enums = {value for file in _files() for value in _enum_values(file)}
    for path in sorted(PROTOS.glob("groundswell/**/*.proto")):
        lines = re.findall(r"^\s*//(.*)$", path.read_text(), re.MULTILINE)
        text = " ".join(lines)
        words = {word for word in WORD.findall(text) if "_" in word}
        words |= set(re.findall(r"\b[A-Z_]+ \(([A-Z]+)[,:;)]", text))
        named |= words - STATUSES - enums
    column = re.findall(r"^\| [^|`]+ \| `([A-Z_]+)`[^|]*\|", _readme(), re.MULTILINE)
    named |= {reason.rstrip("_") for reason in column}
    return named


def _readme() -> str:
    return (PROTOS / "README.md").read_text()


def _files() -> list[FileDescriptor]:
    modules = (
        access_pb2,
        event_pb2,
        item_pb2,
        model_service_pb2,
        catalogue_service_pb2,
        event_service_pb2,
        outcome_service_pb2,
        profile_service_pb2,
        text_service_pb2,
        user_data_service_pb2,
        ranker_service_pb2,
        session_service_pb2,
    )
    return [module.DESCRIPTOR for module in modules]


def _enum_values(file: FileDescriptor) -> Iterator[str]:
    for enum in file.enum_types_by_name.values():
        yield from enum.values_by_name


# --- what the code can give


class Sources:
    """The syntax trees of the code that answers calls."""

    def __init__(self) -> None:
        paths = [path for folder in SERVED for path in sorted((ROOT / folder).rglob("*.py"))]
        self.trees = [ast.parse(path.read_text()) for path in paths]
        self.errors = self._subclasses(BASE)
        self.places = self._places()

    def _nodes(self) -> Iterator[ast.AST]:
        for tree in self.trees:
            yield from ast.walk(tree)

    def _subclasses(self, base: str) -> set[str]:
        known = {base}
        classes = [node for node in self._nodes() if isinstance(node, ast.ClassDef)]
        while True:
            found = {c.name for c in classes if known & {_name(b) for b in c.bases}}
            if found <= known:
                return known
            known |= found

    def _places(self) -> dict[str, int]:
        """Where functions that pass a reason on take it, by name."""
        places = dict.fromkeys(self.errors, 0)
        for node in self._nodes():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [argument.arg for argument in node.args.args]
                if "reason" in names and node.name != "__init__":
                    is_method = names[0] in ("self", "cls")
                    places[node.name] = names.index("reason") - is_method
        return places

    def reasons(self) -> set[str]:
        """Every constant that can be the reason of an error or of an event."""
        found: set[str] = set()
        for node in self._nodes():
            for value in self._candidates(node):
                found |= set(_constants(value))
        return {reason for reason in found if REASON.fullmatch(reason)}

    def _candidates(self, node: ast.AST) -> Iterator[ast.expr]:
        if isinstance(node, ast.Call):
            name = _name(node.func)
            place = self.places.get(name)
            if place is not None and place < len(node.args):
                yield node.args[place]
            # A metric's labels and a log's fields have reasons too, but no other names.
            if place is not None or name[:1].isupper():
                yield from (k.value for k in node.keywords if k.arg == "reason")
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1:
            # A tuple of nothing but such words is a list of other names.
            if _is_long_reason(node.elts[0]) and not _is_long_reason(node.elts[1]):
                yield node.elts[0]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from _assigned_reasons(target, node.value)


def _assigned_reasons(target: ast.expr, value: ast.expr) -> Iterator[ast.expr]:
    if _name(target) == "reason":
        yield value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _assigned_reasons(one, its)


def _is_long_reason(node: ast.expr) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and "_" in value and REASON.fullmatch(value) is not None


def _constants(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may have; of an f-string its beginning."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_constants(node.body), *_constants(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        yield from (text.rstrip("_") for text in _constants(node.values[0]))


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


@pytest.fixture(scope="module")
def given() -> set[str]:
    return Sources().reasons()


def test_every_reason_of_the_code_is_in_the_contracts(given: set[str]) -> None:
    assert sorted(given - documented()) == []


def test_every_reason_of_the_contracts_can_be_given_by_the_code(given: set[str]) -> None:
    assert sorted(documented() - given) == []


def test_the_scan_finds_reasons_of_every_form(given: set[str]) -> None:
    """One of each way in which the code names a reason, so that the scan cannot go blind."""
    forms = {
        "OVERLOADED": "the argument of an error",
        "USER_ID_INVALID": "the argument of a parameter",
        "EVENT_ID_INVALID": "the first of a tuple",
        "EVENT_ID_CONFLICT": "an outcome's keyword",
        "CATEGORIES_INVALID": "assigned before",
    }
    assert set(forms) <= given


def test_the_files_of_the_contracts_are_all_read() -> None:
    names = {file.name for file in _files()}
    assert names == {str(p.relative_to(PROTOS)) for p in PROTOS.glob("groundswell/**/*.proto")}
    assert all(descriptor_pool.Default().FindFileByName(name) for name in names)


def test_the_table_of_reasons_has_every_reason_of_the_contracts() -> None:
    table = (ROOT / "docs/api/reasons.md").read_text()
    listed = re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)
    assert [reason.rstrip("_") for reason in listed] == sorted(documented())
