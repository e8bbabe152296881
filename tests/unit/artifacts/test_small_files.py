"""A small file is written whole or not at all."""

import stat
from pathlib import Path

import pytest

from groundswell.artifacts.small_files import replace_text


def test_a_text_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "mark"
    replace_text(file, "old")
    replace_text(file, "näw")
    assert file.read_text(encoding="utf-8") == "näw"
    assert list(tmp_path.iterdir()) == [file]


def test_a_private_file_is_private_from_the_beginning(tmp_path: Path) -> None:
    replace_text(tmp_path / "secret", "x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_text_that_cannot_be_put_in_place_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mark").mkdir()
    with pytest.raises(OSError, match="mark"):
        replace_text(tmp_path / "mark", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]
