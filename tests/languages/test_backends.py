"""The same program in each language: a list, a click on it, an error, and retries as configured.

TypeScript always, and what the environment variable LANGUAGES names; each program is built anew.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from groundswell.cli.suite.door import LocalDoor
from groundswell.client import Targets
from groundswell.serving.errors import ResourceExhausted
from tests.support.processes import ROOT
from tests.support.recorder import Recorders
from tests.support.suite import Suite

LANGUAGES = ["typescript", *os.environ.get("LANGUAGES", "").split()]
WITH_TLS = ("go", "cpp")
"""The programs that take a token. That of Java does too, but Debian's Netty has no ALPN."""
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    # The release of Debian is older than grpc-go 1.40, which retries by itself.
    "GRPC_GO_RETRY": "on",
}
NUM_ATTEMPTS = 4
RETRY_AFTER_S = 0.1
DEADLINE_S = 2.0
"""Of Recommend, by service_config.json or by the program."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Suite]:
    """Real services with the items of a tiny bundle."""
    with Suite(tmp_path_factory.mktemp("suite"), bundles) as suite:
        suite.fill()
        yield suite


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    """A language whose program was built."""
    build(request.param)
    return str(request.param)


@cache
def build(language: str) -> None:
    """Build the program of a language, once."""
    run("bash", f"clients/{language}/build.sh")


def run(*command: str, folder: Path = ROOT) -> list[str]:
    """The lines that a command prints. Fails when the command does."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


def backend(language: str, user: str, targets: Targets, *secured: str) -> list[str]:
    """What the program of a language prints; `secured` are a file of authorities, and a token."""
    if language == "typescript":
        urls = (f"http://{targets.ranker}", f"http://{targets.session}")
        return run("node", "clients/typescript/dist/examples/backend.js", user, *urls)
    program = f"build/clients/{language}/backend"
    config = f"clients/service_config{'_without_deadlines' * (language == 'cpp')}.json"
    return run(program, user, targets.ranker, targets.session, config, *secured)


def seconds(text: str) -> float:
    """The number in a text such as 0.2s."""
    return float(text.removesuffix("s"))


def test_a_list_is_shown_a_click_recorded_and_an_error_read(suite: Suite, language: str) -> None:
    user = f"of-{language}"
    *items, degradations, recorded, error = backend(language, user, suite.targets)
    assert [line.split()[0] for line in items] == ["item:"] * 5
    assert "USER_UNKNOWN" in degradations
    assert recorded.removeprefix("recorded: ").removeprefix("EVENT_STATUS_") == "ACCEPTED"
    (stored,) = suite.client.list_events(user)
    clicked = items[0].split()[1]
    assert (stored.event.item_id, bool(stored.event.attribution_token)) == (clicked, True)
    _, status, reason, field, retry_after = error.split()
    assert status in ("INVALID_ARGUMENT", "InvalidArgument", "3")
    assert (reason, field, seconds(retry_after)) == ("PAGE_SIZE_INVALID", "page_size", 0)


class ServerTls(LocalDoor):
    """A door that asks for no certificates of clients."""

    def of_services(self) -> dict[str, str]:
        """Those of a door without the authority of clients."""
        known = super().of_services()
        del known["GROUNDSWELL_TLS_CLIENT_CA"]
        return known


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one in WITH_TLS])
def test_with_tls_and_a_token_the_same_program_is_let_in(
    language: str, bundles: Path, tmp_path: Path
) -> None:
    build(language)
    door = ServerTls(tmp_path / "door")
    door.make()
    with Suite(tmp_path, bundles, door=door) as suite:
        suite.fill()
        authorities = str(door.certificates.ca)
        lines = backend(language, "anna", suite.targets, authorities, door.token.read_text())
        assert [line.split()[0] for line in lines[:5]] == ["item:"] * 5
        assert "PAGE_SIZE_INVALID" in lines[-1]
        (refused,) = backend(language, "anna", suite.targets, authorities, "no token")
        assert "TOKEN_INVALID" in refused


def test_a_busy_server_is_asked_again_when_it_says_so_within_the_deadline(language: str) -> None:
    times: list[float] = []

    def busy(*_: Any) -> None:
        times.append(monotonic())
        raise ResourceExhausted("OVERLOADED", "busy", retry_after_s=RETRY_AFTER_S)

    recorders = Recorders()
    recorders.ranker.answers["Recommend"] = busy
    try:
        (error,) = backend(language, "anna", recorders.targets)
    finally:
        recorders.stop()
    _, _, reason, retry_after = error.split()
    assert (reason, seconds(retry_after)) == ("OVERLOADED", RETRY_AFTER_S)
    assert len(times) == NUM_ATTEMPTS
    # gRPC rounds a deadline up before it sends it.
    assert max(recorders.ranker.remaining_s) <= DEADLINE_S + 0.1
    assert min(later - before for before, later in pairwise(times)) >= RETRY_AFTER_S - 0.05


def test_an_empty_folder_and_ten_lines_of_typescript_print_recommendations(
    suite: Suite, tmp_path: Path
) -> None:
    build("typescript")
    client = ROOT / "clients/typescript"
    (packed,) = run("npm", "pack", "--silent", "--pack-destination", str(tmp_path), folder=client)
    run("npm", "install", "--silent", "--prefer-offline", f"./{packed}", folder=tmp_path)
    program = (client / "examples/quick_start.ts").read_text()
    (tmp_path / "quick_start.mts").write_text(program)
    ranker = f"http://{suite.targets.ranker}"
    assert len(run("node", "quick_start.mts", "anna", ranker, folder=tmp_path)) == 5
    assert len([line for line in program.splitlines() if line and line[:2] != "//"]) <= 10
