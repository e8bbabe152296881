"""`groundswell up`: everything runs, everything ends, and what goes wrong is named."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from groundswell.artifacts.store import load_bundle
from groundswell.cli.suite.deployment import free_ports, taken_ports
from tests.support.cli import Up, groundswell


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_it_says_where_everything_is_ends_cleanly_and_holds_all_after_a_restart(
    bundles: Path, tmp_path: Path
) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\nitem-1,Laughing River\n")
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,action,timestamp\nanna,item-1,click,1700000000\n"
    )
    with Up(bundles, tmp_path, free_ports()) as up:
        up.wait_ready()
        assert up.call("items", "import", str(tmp_path / "items.csv")).returncode == 0
        imported = up.call("events", "import", str(tmp_path / "events.csv"))
        assert "1 events accepted, 0 duplicate" in imported.stdout
        (tmp_path / "second").mkdir()
        with Up(bundles, tmp_path / "second", free_ports(), state=up.state) as second:
            assert second.wait(30) == 1
        assert "is in use by another" in second.err()
        assert len(second.err().splitlines()) == 1
        ends_cleanly(up, signal.SIGINT)
    with Up(bundles, tmp_path, free_ports()) as up:
        up.wait_ready()
        imported = up.call("events", "import", str(tmp_path / "events.csv"))
        assert "0 events accepted, 1 duplicate" in imported.stdout
        ends_cleanly(up, signal.SIGTERM)


def ends_cleanly(up: Up, number: signal.Signals) -> None:
    """Assert what it has said, end it, and assert that nothing is left."""
    children = children_of(up.popen.pid)
    assert len(children) == 3
    for name, port in up.ports.by_name().items():
        assert re.search(rf"^{name} +127\.0\.0\.1:{port} +SERVING$", up.log(), re.MULTILINE)
    up.popen.send_signal(number)
    assert up.wait(30) == 0
    assert "Everything has ended" in up.log()
    assert taken_ports(up.ports) == {}
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    for name in up.ports.by_name():
        assert re.search(rf"^ *{name} │ .*closed", up.err(), re.MULTILINE)
    assert stat.S_IMODE((up.state / "secret").stat().st_mode) == 0o600
    assert (up.state / "secret").read_text() not in up.err()


def test_a_service_that_dies_ends_the_rest_and_is_named(bundles: Path, tmp_path: Path) -> None:
    with Up(bundles, tmp_path, free_ports()) as up:
        up.wait_ready()
        children = children_of(up.popen.pid)
        session = next(pid for pid in children if "session_service" in command_line(pid))
        subprocess.run(["kill", "-9", str(session)], check=True)
        assert up.wait(30) == 1
    last_line = up.err().splitlines()[-1]
    assert last_line.startswith("groundswell: the session service ended by SIGKILL")
    assert taken_ports(up.ports) == {}
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_a_taken_port_is_named_and_nothing_starts(bundles: Path, tmp_path: Path) -> None:
    ports = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.session))
        taken.listen()
        with Up(bundles, tmp_path, ports) as up:
            assert up.wait(30) == 1
    assert up.err().splitlines() == [
        f"groundswell: port {ports.session} is in use; end what listens there (another "
        "`groundswell up`?), or choose another --session-port"
    ]
    assert not up.state.exists()


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    done = groundswell("up", "--bundles", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"groundswell: {tmp_path / 'none'} has no current bundle; `groundswell train` makes one"
    ]


def test_a_corrupt_bundle_is_named_and_nothing_is_left(bundles: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundles, tmp_path / "bundles"))
    with (load_bundle(copy).path / "session.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")
    with Up(copy, tmp_path, free_ports()) as up:
        assert up.wait(60) == 1
    last_line = up.err().splitlines()[-1]
    assert last_line.startswith("groundswell: the ")
    assert "BUNDLE_CORRUPT" in last_line
    assert "session.onnx" in last_line
    assert taken_ports(up.ports) == {}


@pytest.mark.parametrize("name", ["fusion.onnx", "notes.txt"])
def test_a_bundle_that_lacks_a_file_or_has_one_more_is_named_before_anything_starts(
    bundles: Path, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(bundles, tmp_path / "bundles", copy_function=os.link))
    file = load_bundle(copy).path / name
    if file.exists():
        file.unlink()
    else:
        file.write_text("mine")
    done = groundswell("up", "--bundles", str(copy), "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"groundswell: the bundle {file.parent.name} ")
    assert name in line
    assert not (tmp_path / "state").exists()


def test_a_damaged_database_is_named_with_what_to_do(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    database = tmp_path / "state/groundswell.db"
    database.write_bytes(b"this was a database once" * 1_000)
    secret = tmp_path / "state/secret"
    secret.touch(mode=0o600)
    secret.write_text("0123456789abcdef" * 4, encoding="utf-8")
    with Up(bundles, tmp_path, free_ports()) as up:
        assert up.wait(60) == 1
    last_line = up.err().splitlines()[-1]
    assert last_line.startswith("groundswell: the profile service ended with status 1")
    assert f"{database}: file is not a database; it is damaged: restore it" in last_line
    assert "Traceback" not in up.err()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
