"""A run that is killed while it replaces a folder leaves the old one or the new one."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from groundswell.trainer.dataset.prepared import load_prepared
from groundswell.trainer.dataset.replacing import mend, replacing
from groundswell.trainer.errors import DataError

CHANGES = ("os.rename", "os.mkdir", "os.link", "os.rmdir", "os.remove", "open")
KILLED = -signal.SIGKILL


def replace(folder: Path, text: str) -> None:
    with replacing(folder, ["kept"]) as new:
        (new / "a").write_text(text)
        (new / "b").write_text(text)


def replace_until(folder: Path, text: str, last: int) -> int:
    """Replace in a process that is killed before its change number `last` of the file system.

    Returns the status of the process.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = last

    def kill(event: str, _: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(kill)
        replace(folder, text)
    except BaseException:  # noqa: BLE001 - a forked process must not go on with the tests
        os._exit(1)
    os._exit(0)


def make_old(folder: Path) -> None:
    (folder / "kept/deep").mkdir(parents=True)
    (folder / "kept/deep/file").write_text("kept")
    for name in ("a", "b"):
        (folder / name).write_text("old")


def kill_between_the_renames(folder: Path) -> None:
    make_old(folder)
    point = 0
    while folder.exists():
        for path in folder.parent.iterdir():
            shutil.rmtree(path)
        make_old(folder)
        assert replace_until(folder, "never", point) == KILLED
        point += 1


@pytest.mark.parametrize("name", ["data", "log [1]*?", ".hidden"])
def test_a_run_killed_at_any_point_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, name: str
) -> None:
    seen, ended, point = set(), KILLED, 0
    while ended == KILLED:
        place = tmp_path / str(point)
        folder = place / name
        make_old(folder)
        ended = replace_until(folder, "new", point)
        mend(folder)
        found = {(folder / one).read_text() for one in ("a", "b")}
        assert len(found) == 1, f"killed at {point}"
        seen |= found
        assert (folder / "kept/deep/file").read_text() == "kept"
        assert [path.name for path in place.iterdir()] == [name], f"killed at {point}"
        point += 1
    assert ended == 0
    assert seen == {"old", "new"}
    assert point > 10


def test_the_next_run_mends_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    kill_between_the_renames(folder)
    replace(folder, "newer")
    assert (folder / "a").read_text() == "newer"
    assert (folder / "kept/deep/file").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_opening_prepared_data_mends_it_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    kill_between_the_renames(folder)
    with pytest.raises(DataError, match=r"no prepared data: it has no meta\.json"):
        load_prepared(folder)
    assert (folder / "a").read_text() == "old"


def test_a_run_that_lives_is_not_disturbed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    make_old(folder)
    with replacing(folder) as new:
        (new / "a").write_text("first")
        mend(folder)
        replace(folder, "second")
        assert (new / "a").read_text() == "first"
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").read_text() == "first"
