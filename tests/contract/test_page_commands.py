"""Each command of the pages is one that exists, and is run by a test or says why by none."""

import io
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_settings import BaseSettings

from groundswell.cli.app import app
from groundswell.profile_service.settings import ProfileSettings
from groundswell.ranker_service.settings import RankerSettings
from groundswell.session_service.settings import SessionSettings
from tests.support import in_process
from tests.support.pages import PAGES, ROOT, Command, commands

ALL = [command for page in PAGES for command in commands(page)]
SETTINGS: tuple[type[BaseSettings], ...] = (ProfileSettings, RankerSettings, SessionSettings)

REBUILDS = "tests/integration/profile_service/rebuild"
END_TO_END = "tests/e2e/test_end_to_end.py"
RUN_BY = {
    "groundswell prepare --events events.csv --items items.csv --out prepared": END_TO_END,
    "groundswell train --data prepared --bundles bundles": END_TO_END,
    "groundswell evaluate --bundle bundles --data prepared": END_TO_END,
    "groundswell up": END_TO_END,
    "groundswell items import": END_TO_END,
    "groundswell events import": END_TO_END,
    "groundswell recommend": END_TO_END,
    "groundswell recommend-all": END_TO_END,
    "groundswell similar": END_TO_END,
    "groundswell explain": END_TO_END,
    "groundswell outcomes": END_TO_END,
    "groundswell bundles list": END_TO_END,
    "groundswell bundles variant": END_TO_END,
    "groundswell bundles promote": "tests/unit/cli/commands/test_bundles.py",
    "groundswell bundles rollback": "tests/unit/cli/commands/test_bundles.py",
    "groundswell bench": "tests/integration/cli/test_cli_commands.py",
    "groundswell console": "tests/integration/cli/test_console.py",
    "groundswell replay": "tests/integration/ranker_service/test_replay.py",
    "groundswell grid": "tests/model/trainer/test_grid.py",
    "groundswell text-probe": "tests/model/trainer/text_encoder/test_cli_text_probe.py",
    "groundswell profiles rebuild --bundles": f"{REBUILDS}/test_local.py",
    "groundswell profiles rebuild … --events": f"{REBUILDS}/test_local.py",
    "groundswell profiles rebuild … --engine ray": f"{REBUILDS}/test_on_ray.py",
    "groundswell db restored": "tests/integration/ranker_service/test_restored_suite.py",
    "groundswell db rotate-secret": "tests/integration/profile_service/test_secrets.py",
    "groundswell users": "tests/integration/cli/test_cli_commands.py",
    "groundswell tokens": "tests/contract/test_page_commands.py",
    "python docs/use/make_log.py": "tests/contract/test_use_logs.py",
    "pip install .": END_TO_END,
    "buf generate": "tests/languages/test_backends.py",
    "protoc -I protos": "tests/languages/test_backends.py",
    "GROUNDSWELL_MILVUS_ADDRESS": "tests/integration/retrieval",
    "kubectl apply": "tests/contract/test_kubernetes.py",
    **{
        f"groundswell {step} {use}-": "tests/campaign/test_use_logs.py"
        for use in ("shop", "video", "social", "games", "learning", "health")
        for step in ("prepare --events", "train --data", "evaluate --bundle")
    },
}
"""The beginning of each command, and the test that runs it."""

NOT_RUN = {
    "make": "the targets are what runs the tests; this file checks that they exist",
    "source .venv/bin/activate": "the tests name the environment's programs instead",
    "pip install '.[console]'": "tests/contract/test_extras.py checks what it brings",
    "pip install --no-deps": "gets files for C++; make test-languages makes the client without pip",
    "go": "gets packages from the network",
    "cd clients/typescript": "makes a package of what make test-languages builds",
    "docker": "needs a container engine; tests/contract/test_deploy.py reads its files",
    "kubectl create": "needs a cluster",
    "kubectl -n": "needs a cluster",
    "GROUNDSWELL_": "settings, which this file compares with the code",
    "OTEL_": "a setting of OpenTelemetry",
}
"""The beginnings of commands that no test runs, and why."""


def plain(command: Command) -> str:
    """The command as it is written, with one blank between its words."""
    return " ".join(f"'{word}'" if "[" in word else word for word in command.words)


def test_each_command_is_run_by_a_test_that_exists_or_says_why_not() -> None:
    listed = {**RUN_BY, **NOT_RUN}
    told = [plain(command) for command in ALL]
    assert len(told) > 80
    assert [c for c in told if not c.startswith(tuple(listed))] == []
    assert [start for start in listed if not any(c.startswith(start) for c in told)] == []
    assert [path for path in RUN_BY.values() if not (ROOT / path).exists()] == []


def readers_alone(command: Any) -> Any:
    """Take from each command what it does; it still reads its arguments."""
    for each in getattr(command, "commands", {}).values():
        readers_alone(each)
    command.callback = lambda **_: None
    return command


READERS = readers_alone(typer.main.get_command(app))


def refusal(*words: str) -> str:
    """What the command line says against these words; empty when it takes them."""
    said = io.StringIO()
    with redirect_stderr(said), pytest.raises(SystemExit) as end:
        READERS.main(list(words))
    return said.getvalue() if end.value.code else ""


def test_the_command_line_takes_each_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_text("{}")
    told = [c for c in ALL if c.words[0] == "groundswell" and "…" not in c.words]
    assert len(told) > 60
    refused = [(str(command), refusal(*command.words[1:])) for command in told]
    assert [each for each in refused if each[1]] == []
    assert "--no-such" in refusal("train", "--data", "x", "--no-such")
    assert "no-such" in refusal("bundles", "variant", "no-such")


def test_the_tokens_of_the_page_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = dict.fromkeys(c.words[1:] for c in ALL if c.words[:2] == ("groundswell", "tokens"))
    key, issued = [in_process.run(*words) for words in told]
    assert (key.returncode, issued.returncode) == (0, 0), key.stderr + issued.stderr
    assert (tmp_path / "keys.json").exists()
    assert issued.stdout.count(".") == 2


def test_targets_files_and_settings_of_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    known = {f"GROUNDSWELL_{name.upper()}" for each in SETTINGS for name in each.model_fields}
    for command in ALL:
        first, *rest = command.words
        if first == "make":
            assert rest[0] in targets, command
            assert all(f"$({word.partition('=')[0]})" in makefile for word in rest[1:]), command
        elif first.startswith("GROUNDSWELL_"):
            assert {word.partition("=")[0] for word in command.words} <= known, command
        elif first in ("python", "docker", "kubectl"):
            files = [word for word in rest if "/" in word and "://" not in word]
            assert all((ROOT / file).exists() for file in files), command
