"""The launcher, over small servers that are built as the suite's own services are."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.cli.failures import CommandError
from groundswell.cli.suite.launcher import Service, Suite, is_serving
from tests.support.processes import SECRET, free_port
from tests.support.waiting import eventually

WAIT_S = 20.0


def probe(folder: Path, name: str, **variables: str) -> Service:
    settings = {
        "GROUNDSWELL_SECRET": SECRET,
        "GROUNDSWELL_BUNDLES": str(folder),
        "GROUNDSWELL_LOG_FORMAT": "console",
        "GROUNDSWELL_DRAIN_WAIT_S": "0",
    }
    port = free_port()
    settings["GROUNDSWELL_PORT"] = str(port)
    return Service(name, "tests.support.probe_server", port, {**settings, **variables})


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> None:
    eventually(lambda: not any(map(is_running, pids)), WAIT_S)


def test_services_serve_inside_the_context_and_are_gone_after_it(tmp_path: Path) -> None:
    services = [probe(tmp_path, "profile"), probe(tmp_path, "session")]
    lines: list[tuple[str, str]] = []
    with Suite(services, lambda name, line: lines.append((name, line))) as suite:
        suite.wait_serving(WAIT_S)
        pids = list(suite.pids.values())
        assert all(is_serving(service.address) for service in services)
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)
    assert not any(is_serving(service.address) for service in services)
    for name in ("profile", "session"):
        own = [line for who, line in lines if who == name]
        assert any("serving" in line for line in own)
        assert "closed" in own[-1]


def test_a_service_that_cannot_start_is_named_with_its_reason(tmp_path: Path) -> None:
    services = [probe(tmp_path, "profile"), probe(tmp_path, "session", PROBE_BROKEN="1")]
    with (
        pytest.raises(CommandError, match=r"session service ended with status 1.*NO_CURRENT"),
        Suite(services, lambda *_: None) as suite,
    ):
        pids = list(suite.pids.values())
        suite.wait_serving(WAIT_S)
    assert not any(is_running(pid) for pid in pids)


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    service = probe(tmp_path, "ranker", GROUNDSWELL_SECRET="short")
    with (
        pytest.raises(CommandError, match=r"ranker.*status 2.*GROUNDSWELL_SECRET"),
        Suite([service], lambda *_: None) as suite,
    ):
        suite.wait_serving(WAIT_S)


def test_a_service_that_dies_later_is_noticed(tmp_path: Path) -> None:
    services = [probe(tmp_path, "profile"), probe(tmp_path, "session")]
    with Suite(services, lambda *_: None) as suite:
        suite.wait_serving(WAIT_S)
        others = suite.pids["session"]
        os.kill(suite.pids["profile"], signal.SIGKILL)
        with pytest.raises(CommandError, match="profile service ended by SIGKILL"):
            suite.watch()
    assert not is_running(others)


def test_a_service_that_never_gets_ready_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    service = probe(tmp_path, "profile", PROBE_READY_FILE=str(tmp_path / "never"))
    with (
        pytest.raises(CommandError, match="not SERVING after 2 s: profile"),
        Suite([service], lambda *_: None) as suite,
    ):
        suite.wait_serving(2.0)


def test_services_end_when_their_launcher_is_killed(tmp_path: Path) -> None:
    service = probe(tmp_path, "profile")
    program = f"""
import sys, time
from groundswell.cli.suite.launcher import Service, Suite
service = Service("profile", "tests.support.probe_server", {service.port}, {service.variables!r})
with Suite([service], lambda *_: None) as suite:
    suite.wait_serving({WAIT_S})
    print(*suite.pids.values(), flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 1
        assert is_running(pids[0])
        launcher.kill()
    wait_until_gone(pids)
