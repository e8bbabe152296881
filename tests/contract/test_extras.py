"""Each extra brings what its commands need, and a command without its own says which one does."""

import json
import subprocess
import sys
import textwrap
import tomllib
import venv
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from groundswell.cli.extras import which_extra_of_service
from tests.support.bundles import ITEMS
from tests.support.processes import ROOT
from tests.support.random_log import random_log

# A fresh interpreter that does not find some packages; it runs each command as a person would, and
# prints how it ended.
PROGRAM = textwrap.dedent(
    """
    import contextlib, io, json, sys

    refused, modules, commands = json.loads(sys.argv[1])

    class Hiding:
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in refused:
                return None
            return self.finder.find_spec(name, path, target)

    sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
    for module in modules:
        __import__(module)
    from groundswell.cli import main
    ended = []
    for command in commands:
        sys.argv = ["groundswell", *command]
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        ended.append((code, said.getvalue()))
    print(json.dumps(ended))
    """
)
DEAD = "127.0.0.1:1"


def not_installed_by(extras: Sequence[str]) -> list[str]:
    """The modules of this environment that the package with these extras does not bring."""
    distributions: dict[str, set[str]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [("groundswell", frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        key = _key(name)
        if wanted | {""} <= distributions.get(key, set()):
            continue
        distributions.setdefault(key, set()).update(wanted | {""})
        requirements = _own_requirements(wanted) if key == "groundswell" else _requirements(name)
        for text in requirements:
            one = Requirement(text)
            environments = [{"extra": extra} for extra in (*wanted, "")]
            if one.marker is None or any(one.marker.evaluate(e) for e in environments):
                waiting.append((one.name, frozenset(one.extras)))
    return [
        module
        for module, names in metadata.packages_distributions().items()
        if all(_key(name) not in distributions for name in names) and module != "groundswell"
    ]


def _own_requirements(extras: Iterable[str]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(one for extra in extras for one in optional[extra])]


def _requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []  # Of another platform.


def _key(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def run_with(
    extras: Sequence[str], *commands: Sequence[str], modules: Sequence[str] = ()
) -> list[tuple[int, str]]:
    asked = json.dumps([not_installed_by(extras), list(modules), [list(c) for c in commands]])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, asked], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout.splitlines()[-1])]


def test_without_any_extra_the_command_says_which_one_it_needs() -> None:
    for code, said in run_with([], ["--help"], ["recommend", "anna"]):
        assert (code, said) == (
            2,
            "groundswell: groundswell needs the package typer, which is not installed; run: "
            "pip install 'groundswell[cli]'\n",
        )
    ((code, said),) = run_with([], ["train", "--data", "x"])
    assert code == 2
    assert said.endswith("pip install 'groundswell[train]'\n")


def test_in_an_environment_without_any_package_it_says_so_too(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=False)
    (folder,) = tmp_path.glob("lib/python*/site-packages")
    roots = [ROOT / name for name in ("protos/gen", "shared", "services", "clients/python")]
    (folder / "roots.pth").write_text("".join(f"{root}\n" for root in roots))
    program = "from groundswell.cli import main; main()"
    for arguments in (["--help"], ["train", "--help"], ["similar", "x"], []):
        done = subprocess.run(
            [tmp_path / "bin/python", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert "needs the package typer, which is not installed" in line


def test_a_rebuild_on_a_cluster_needs_an_extra_of_its_own() -> None:
    rebuild = ["profiles", "rebuild", "--bundles", "x"]
    on_ray, alone = run_with(["cli", "profile"], [*rebuild, "--engine", "ray"], rebuild)
    assert on_ray[0] == 2
    assert on_ray[1].endswith(
        "needs the package ray, which is not installed; run: pip install 'groundswell[ray]'\n"
    )
    assert alone[0] == 1
    assert "name the database" in alone[1]


def test_the_commands_that_call_services_need_the_extra_cli_alone(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,action,timestamp\nu,i,click,1\n")
    (tmp_path / "items.csv").write_text("item_id,title\ni,One\n")
    ended = run_with(
        ["cli"],
        ["recommend", "anna", "--ranker", DEAD],
        ["similar", "one", "--ranker", DEAD],
        ["events", "import", str(tmp_path / "events.csv"), "--profile", DEAD],
        ["items", "import", str(tmp_path / "items.csv"), "--profile", DEAD],
    )
    for code, said in ended:
        assert code == 1
        assert f"does not answer at {DEAD}" in said


OF_EACH = {
    "prepare": (["--events", "x", "--items", "x", "--out", "x"], "train"),
    "train": (["--data", "prepared", "--bundles", "x"], "train"),
    "evaluate": (["--bundle", "x", "--data", "x"], "train"),
    "grid": (["--data", "x", "--out", "x"], "train"),
    "text-probe": (["--items", "x"], "train"),
    "demo": ([], "train"),
    "console": ([], "console"),
    "up": (["--bundles", "x"], "cli,profile,session,ranker"),
    "db": (["restored", "--database-url", "sqlite+aiosqlite:///x"], "cli,profile"),
    "profiles": (
        ["rebuild", "--bundles", "x", "--database-url", "sqlite+aiosqlite:///x"],
        "cli,profile",
    ),
}


def test_a_command_without_its_extra_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random_log(tmp_path, ITEMS)  # what is wrong with the data would be told first
    ended = run_with(["cli"], *([name, *given] for name, (given, _) in OF_EACH.items()))
    for (code, said), (name, (_, extra)) in zip(ended, OF_EACH.items(), strict=True):
        assert code == 2
        assert len(said.splitlines()) == 1
        assert said.startswith(f"groundswell: groundswell {name} needs the package ")
        assert said.endswith(f"pip install 'groundswell[{extra}]'\n")


def test_the_console_needs_no_extra_but_its_own() -> None:
    ((code, said),) = run_with(["console"], ["console", "--host", "host.invalid"])
    assert code == 1
    assert said.startswith("groundswell: cannot listen on host.invalid:8050 (")


def test_up_and_the_services_need_no_extra_but_theirs() -> None:
    modules = [f"groundswell.{name}_service.__main__" for name in ("profile", "session", "ranker")]
    extras = ["cli", "profile", "session", "ranker"]
    ((code, said),) = run_with(extras, ["up", "--bundles", "/nowhere"], modules=modules)
    assert code == 1
    assert said.startswith("groundswell: /nowhere has no current bundle")


def test_a_service_without_its_extra_names_it() -> None:
    missing = ModuleNotFoundError("No module named 'faiss'", name="faiss")
    assert which_extra_of_service(missing, "groundswell.ranker_service") == (
        "the ranker service needs the package faiss, which is not installed; run: "
        "pip install 'groundswell[ranker]'"
    )
    own = ModuleNotFoundError("No module named 'groundswell.x'", name="groundswell.x")
    assert which_extra_of_service(own, "groundswell.ranker_service") is None
