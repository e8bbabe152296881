"""Folders that cannot be written, and disks that are full, are told in one line."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.trainer.dataset.disk import check_output, check_writable, told_when_full
from groundswell.trainer.errors import DataError
from tests.support.cli import COMMAND
from tests.unit.trainer.logs import CATALOGUE, HEADER, write


def test_a_folder_is_made_and_stays_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new/er")
    assert list((tmp_path / "new/er").iterdir()) == []


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/under"):
        with pytest.raises(DataError, match=f"{folder} cannot be written: "):
            check_writable(folder)


def test_an_output_file_is_checked_before_the_work(tmp_path: Path) -> None:
    check_output(None)
    check_output(tmp_path / "figures.json")
    with pytest.raises(DataError, match="is a folder, not a file to write"):
        check_output(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        check_output(tmp_path / "none/figures.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        OSError("1000 requested and 12 written"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_with_its_folder_and_what_is_kept(
    tmp_path: Path, error: Exception
) -> None:
    with (
        pytest.raises(
            DataError, match=rf"{tmp_path}/not/made is full.*MB are free now.*: all kept"
        ),
        told_when_full([tmp_path / "not/made"], "all kept"),
    ):
        raise error


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError), told_when_full([tmp_path], "all is kept"):
        raise KeyError("a bug")


def test_prepare_on_a_full_disk_keeps_what_was_there_before(tmp_path: Path) -> None:
    rows = "".join(f"u{n},a,view,{1_700_000_000 + n}\n" for n in range(20_000))
    events = write(tmp_path / "e.csv", f"{HEADER}\n{rows}")
    items = write(tmp_path / "i.csv", CATALOGUE)
    small = write(tmp_path / "small.csv", f"{HEADER}\nu,a,view,1700000000\n")
    command = [*COMMAND, "prepare", "--items", str(items), "--out", str(tmp_path / "out")]
    subprocess.run([*command, "--events", str(small)], check=True, capture_output=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2); "
        + COMMAND[2]
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *command[len(COMMAND) :], "--events", str(events)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"groundswell: {tmp_path / 'out'} is full")
    assert "what was there before is unchanged" in line
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
