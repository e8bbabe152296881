"""Everything that a caller may send has a limit in the contract, and nobody's code is run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
_SIZED = (FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_BYTES)
# What names something that the process holds: it is compared as a whole, and refused or ignored.
_COMPARED = ("bundle_id", "lineage", "known_seen_lineage")


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """The contracts, with their comments."""
    out = tmp_path_factory.mktemp("contracts") / "all.binpb"
    google = Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path.relative_to(PROTOS)) for path in PROTOS.glob("groundswell/**/*.proto")]
    options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["", f"-I{PROTOS}", f"-I{google}", *options, *files]) == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def sent(contracts: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """Each text, each bytes and each repeated field of all requests, with its comment."""
    messages: dict[str, DescriptorProto] = {}
    comments: dict[tuple[str, str], str] = {}
    todo: list[str] = []
    for file in contracts.file:
        places = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
        for number, message in enumerate(file.message_type):
            name = f".{file.package}.{message.name}"
            messages[name] = message
            for place, field in enumerate(message.field):
                comments[name, field.name] = places.get((4, number, 2, place), "")
        todo += [method.input_type for service in file.service for method in service.method]
    known: set[str] = set()
    while todo:
        name = todo.pop()
        if name in known or not name.startswith(".groundswell.") or name not in messages:
            continue
        known.add(name)
        for field in messages[name].field:
            todo.append(field.type_name)
            if field.label == FieldDescriptorProto.LABEL_REPEATED or field.type in _SIZED:
                yield f"{name}.{field.name}", comments[name, field.name]


def test_every_text_and_every_list_of_a_request_has_a_limit(contracts: FileDescriptorSet) -> None:
    """A number, the reason of a refusal, or the field that has them."""
    limit = re.compile(
        r"\d|[A-Z]_(INVALID|LOADED)\b|\b[aA]s in \w|\bSee `|as RecommendRequest|`page_size`"
    )
    fields = list(sent(contracts))
    assert len(fields) > 80
    lacking = [
        name
        for name, comment in fields
        if not limit.search(comment) and name.rpartition(".")[2] not in _COMPARED
    ]
    assert lacking == []


def test_no_model_of_others_may_bring_code() -> None:
    for folder in ("services", "shared", "clients/python", "tests", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                    is_off = isinstance(node.value, ast.Constant) and node.value.value is False
                    assert is_off, f"{path}:{node.value.lineno}"
