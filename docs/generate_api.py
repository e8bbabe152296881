"""Writes docs/api from the contracts: a page for each `.proto`, and a table of all error reasons.

Usage: python docs/generate_api.py [--check]. With --check it only compares; exit code 1 if a page
differs. It needs the packages of development.
"""

import json
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2 as pb
from grpc_tools import protoc

from groundswell.common.v1 import access_pb2

ROOT = Path(__file__).parents[1]
PROTOS, TARGET = ROOT / "protos", ROOT / "docs/api"
GENERATED = "`make protos` wrote this page."
INDEX = f"""# API
Every method, message and enum of the contracts; {GENERATED}
[reasons.md](reasons.md) lists the reasons of errors,
[service_config.json](../../clients/service_config.json) the deadlines and retries for gRPC
libraries, and [the contracts' page](../../protos/README.md) what holds for all methods.
"""
REASONS = f"""# Reasons of errors
Every `reason` of an ErrorInfo, a field violation or a single result; {GENERATED}
Without a status here, the comments name none: bad input is INVALID_ARGUMENT, or the reason of a
result of its own, such as that of one event. Where a method has "the reasons of" another one, this
table names the other one alone.

| reason | status | named by |
|---|---|---|"""
Field = pb.FieldDescriptorProto
STATUSES = {code.name for code in grpc.StatusCode}
# INVALID_ARGUMENT (EVENTS_INVALID: none, or more than 1,000; and the reasons that Event names)
LISTED = re.compile(r"\b([A-Z_]+)\s\(((?:[^()]|\([^()]*\))*)\)")
WORD = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b")


def contracts() -> list[pb.FileDescriptorProto]:
    """The files of the contracts, with their comments."""
    files = sorted(str(path) for path in (PROTOS / "groundswell").rglob("*.proto"))
    include = str(Path(protoc.__file__).parent / "_proto")
    with tempfile.NamedTemporaryFile() as image:
        flags = [f"-I{PROTOS}", f"-I{include}", f"--descriptor_set_out={image.name}"]
        if protoc.main(["protoc", *flags, "--include_source_info", *files]):
            raise SystemExit("protoc failed")
        return list(pb.FileDescriptorSet.FromString(image.read()).file)


class Page:
    """The page of one `.proto`."""

    def __init__(self, file: pb.FileDescriptorProto, links: dict[str, str]) -> None:
        self.name = Path(file.name).stem
        self._file = file
        self._links = links
        self._comments = {
            tuple(at.path): re.sub(r"(?m)^ ", "", at.leading_comments).strip()
            for at in file.source_code_info.location
        }

    def text(self) -> str:
        """The page in Markdown."""
        parts = [f"# {self.name}", self.title, f"`{self._file.name}`; {GENERATED}"]
        for number, service in enumerate(self._file.service):
            parts += self._service(service, (6, number))
        for number, message in enumerate(self._file.message_type):
            parts += self._message(message, (4, number))
        for number, enum in enumerate(self._file.enum_type):
            rows = (
                f"| `{value.name}` | {value.number} | {self._cell((5, number, 2, place))} |"
                for place, value in enumerate(enum.value)
            )
            table = "\n".join(("| value | number | meaning |\n|---|---|---|", *rows))
            parts += [f"## {enum.name}", self._comments[5, number], table]
        return "\n\n".join(parts) + "\n"

    @property
    def title(self) -> str:
        """What the file is for."""
        return self._comments[12,]

    def values(self) -> Iterator[str]:
        """The names of the values of its enums."""
        for enum in self._file.enum_type:
            yield from (value.name for value in enum.value)

    def places(self) -> Iterator[tuple[str, str]]:
        """Each method and each message, linked, and a comment of it or of its fields."""
        for path, comment in self._comments.items():
            if path[:1] == (6,) and path[2:3] == (2,):
                service = self._file.service[path[1]]
                yield self._link(service.method[path[3]].name), comment
            elif path[:1] == (4,):
                yield self._link(self._file.message_type[path[1]].name), comment
            elif path[:1] == (5,):
                yield self._link(self._file.enum_type[path[1]].name), comment

    def _link(self, name: str) -> str:
        return f"[{name}]({self.name}.md#{name.lower()})"

    def _service(self, service: pb.ServiceDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield f"## {service.name}"
        yield self._comments[path]
        for place, method in enumerate(service.method):
            takes = "stream " * method.client_streaming + self._type(method.input_type)
            gives = "stream " * method.server_streaming + self._type(method.output_type)
            roles = method.options.Extensions[access_pb2.access].roles
            names = ", ".join(access_pb2.Role.Name(r).removeprefix("ROLE_").lower() for r in roles)
            calls = calls_of(f"{self._file.package}.{service.name}", method.name)
            yield f"### {method.name}"
            yield f"{takes} → {gives}"
            yield f"Roles: {names}. {calls}"
            yield re.sub(r"\s+Statuses:", "\n\nStatuses:", self._comments[*path, 2, place])

    def _message(self, message: pb.DescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield f"## {message.name}"
        yield self._comments[path]
        entries = {f".{self._file.package}.{message.name}.{n.name}": n for n in message.nested_type}
        rows = []
        for place, field in enumerate(message.field):
            entry = entries.get(field.type_name)
            kind = self._kind(field)
            if entry:
                kind = f"map<{', '.join(self._kind(each) for each in entry.field)}>"
            rows.append(f"| `{field.name}` | {kind} | {self._cell((*path, 2, place))} |")
        if rows:
            yield "\n".join(("| field | type | meaning |\n|---|---|---|", *rows))

    def _kind(self, field: Field) -> str:
        kind = Field.Type.Name(field.type).removeprefix("TYPE_").lower()
        name = self._type(field.type_name) if field.type_name else kind
        repeated = field.label == Field.LABEL_REPEATED
        return f"{'repeated ' * repeated}{'optional ' * field.proto3_optional}{name}"

    def _type(self, name: str) -> str:
        short = name.rpartition(".")[2]
        return f"[{short}]({self._links[name]})" if name in self._links else short

    def _cell(self, path: tuple[int, ...]) -> str:
        return " ".join(self._comments[path].split()).replace("|", "\\|")


def calls_of(service: str, method: str) -> str:
    """What clients/service_config.json says of a method."""
    config = json.loads((ROOT / "clients/service_config.json").read_text(encoding="utf-8"))
    name = {"service": service, "method": method}
    found: dict[str, Any] = next((m for m in config["methodConfig"] if name in m["name"]), {})
    limit = found.get("timeout", "none").replace("3600s", "an hour")
    tries = found.get("retryPolicy", {}).get("maxAttempts", 1)
    return f"Deadline of our clients: {limit}. Attempts: {tries}."


def reasons(pages: dict[str, Page]) -> str:
    """The page of all reasons: of comments, and of the table in protos/README.md."""
    statuses: dict[str, set[str]] = defaultdict(set)
    places: dict[str, list[str]] = defaultdict(list)
    readme = (PROTOS / "README.md").read_text(encoding="utf-8")
    for status, reason in re.findall(r"(?m)^\| ([^|`]+) \| `([A-Z_]+)`", readme):
        statuses[reason].add(status)
        places[reason].append("[every method](../../protos/README.md#errors)")
    values = {value for page in pages.values() for value in page.values()}
    for page in pages.values():
        for place, comment in page.places():
            for status, reason in named_reasons(comment, values):
                statuses[reason] |= {status} if status else set()
                if place not in places[reason]:
                    places[reason].append(place)
    rows = (
        f"| `{reason}` | {', '.join(sorted(statuses[reason]))} | {', '.join(named)} |"
        for reason, named in sorted(places.items())
    )
    return "\n".join((REASONS, *rows)) + "\n"


def named_reasons(comment: str, values: set[str]) -> Iterator[tuple[str, str]]:
    """The reasons that a comment names, each with the status before it, or an empty one.

    A reason has an underscore, or is the first word in parentheses after a status; it is neither a
    status nor one of `values`, which are those of enums.
    """
    listed = {
        (found[1], word)
        for found in LISTED.finditer(comment)
        if found[1] in STATUSES
        for word in WORD.findall(found[2])
        if "_" in word or found[2].startswith(word)
    }
    others = {("", word) for word in WORD.findall(comment) if "_" in word}
    for status, word in sorted(listed | others):
        if word not in values | STATUSES:
            yield status, word


def pages() -> dict[str, str]:
    """All pages, by their names."""
    files = contracts()
    links = {}
    for file in files:
        names = [each.name for each in file.message_type] + [each.name for each in file.enum_type]
        for name in names:
            links[f".{file.package}.{name}"] = f"{Path(file.name).stem}.md#{name.lower()}"
    made = {f"{Path(file.name).stem}.md": Page(file, links) for file in files}
    services = [
        f"- [{name.removesuffix('.md')}]({name}): {page.title}" for name, page in made.items()
    ]
    index = "\n".join((INDEX, *services)) + "\n"
    texts = {name: page.text() for name, page in made.items()}
    return {**texts, "README.md": index, "reasons.md": reasons(made)}


def main() -> int:
    """Write the pages, or with --check name those that differ."""
    wanted = pages()
    if "--check" not in sys.argv:
        shutil.rmtree(TARGET, ignore_errors=True)
        TARGET.mkdir()
        for name, text in wanted.items():
            (TARGET / name).write_text(text, encoding="utf-8")
    found = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*")}
    differ = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
    sys.stdout.writelines(f"docs/api/{name} differs; run make protos\n" for name in differ)
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
