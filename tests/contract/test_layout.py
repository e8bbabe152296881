"""The layout that the four source roots, the stubs and the documents promise."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("protos/gen", "shared", "services", "clients/python")


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_no_root_closes_the_namespace(root: str) -> None:
    package = ROOT / root / "groundswell"
    assert package.is_dir()
    assert not (package / "__init__.py").exists()


def test_the_wheel_and_the_editable_install_take_the_same_roots() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = project["tool"]["hatch"]["build"]
    assert build["dev-mode-dirs"] == list(SOURCE_ROOTS)
    packages = build["targets"]["wheel"]["packages"]
    assert packages == [f"{root}/groundswell" for root in SOURCE_ROOTS]


@pytest.mark.parametrize("kind", ["unit", "integration", "model"])
def test_each_folder_of_tests_has_the_name_of_the_package_that_it_tests(kind: str) -> None:
    # The bench is a package of tests that has tests itself.
    packages = [*(ROOT / root / "groundswell" for root in SOURCE_ROOTS), ROOT / "tests"]
    tests = ROOT / "tests" / kind
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    unknown = [folder for folder in folders if not any((p / folder).is_dir() for p in packages)]
    assert (len(folders) > 3, unknown) == (True, [])


def test_the_base_install_is_the_client_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = sorted(re.split(r"[<>=\[ ]", need)[0] for need in project["dependencies"])
    assert names == ["grpcio", "protobuf"]


def test_the_committed_stubs_are_what_the_protos_say(tmp_path: Path) -> None:
    protos = sorted((ROOT / "protos/groundswell").rglob("*.proto"))
    out = tmp_path / "gen"
    out.mkdir()
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}"]
    subprocess.run([*command, f"--python_out={out}", *map(str, protos)], check=True)
    fresh = {p.relative_to(out): p.read_text() for p in out.rglob("*_pb2.py")}
    committed = ROOT / "protos/gen"
    assert fresh == {p.relative_to(committed): p.read_text() for p in committed.rglob("*_pb2.py")}


def test_every_method_of_the_contracts_is_served(tmp_path: Path) -> None:
    """Declared and not implemented would be a promise that a caller finds out about too late."""
    image = tmp_path / "image.binpb"
    protos = sorted((ROOT / "protos/groundswell").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}"]
    subprocess.run([*command, f"--descriptor_set_out={image}", *map(str, protos)], check=True)
    declared = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    code = "\n".join(
        path.read_text() for root in ("services", "shared") for path in (ROOT / root).rglob("*.py")
    )
    methods = [m.name for f in declared.file for s in f.service for m in s.method]
    assert len(methods) > 15
    assert [m for m in methods if f"def {m}(" not in code] == []


def test_every_reason_that_a_service_gives_is_in_the_contracts() -> None:
    documents = [ROOT / "protos/README.md", *(ROOT / "protos/groundswell").rglob("*.proto")]
    contracts = "\n".join(path.read_text() for path in documents)
    raised = re.compile(
        r"\b(?:InvalidArgument|NotFound|FailedPrecondition|ResourceExhausted|Unavailable|"
        r"DeadlineExceeded|AlreadyExists)\(\s*\"([A-Z][A-Z_]+)\""
    )
    used: dict[str, str] = {}
    for root in ("shared", "services"):
        for path in (ROOT / root).rglob("*.py"):
            used.update(dict.fromkeys(raised.findall(path.read_text()), path.name))
    assert len(used) > 10
    assert {reason: file for reason, file in used.items() if reason not in contracts} == {}


def test_every_text_file_is_opened_in_a_named_encoding() -> None:
    """The locale must not decide what is in a file."""
    unnamed = []
    for root in ("shared", "services", "clients/python"):
        for path in (ROOT / root).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _opens_text(node):
                    unnamed.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert unnamed == []


def _opens_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    texts = [
        arg.value for arg in (*call.args, keywords.get("mode")) if isinstance(arg, ast.Constant)
    ]
    modes = [
        text for text in texts if isinstance(text, str) and text and set(text) <= set("rwxat+")
    ]
    return (
        name in ("read_text", "write_text")
        or (name in ("open", "fdopen") and bool(modes))
        or (name in ("run", "Popen", "check_output") and "text" in keywords)
    )
