"""Large files are mapped as copies that nobody else changes, and that processes share."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts import private_copy
from groundswell.artifacts.private_copy import open_private, read_array, release


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy files of any size; return the folder of copies."""
    monkeypatch.setattr(private_copy, "_LEAST_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"groundswell-{os.getuid()}"


def written(path: Path, value: int) -> Path:
    with path.open("wb") as file:
        np.save(file, np.arange(3))
        np.save(file, np.full((1_000, 8), value, np.float32))
        file.write(b"the end")
    return path


def opened(path: Path) -> NDArray[Any]:
    file, mapped = open_private(path)
    with file:
        assert read_array(file, mapped=False).tolist() == [0, 1, 2]
        array = read_array(file, mapped=mapped)
        assert file.read() == b"the end"
        return array


def test_a_file_that_is_cut_short_stays_readable(tmp_path: Path) -> None:
    path = written(tmp_path / "a", 7)
    array = opened(path)
    assert isinstance(array.base, np.memmap)
    os.truncate(path, 100)
    release(array)
    assert array.shape == (1_000, 8)
    assert (array == 7).all()


def test_two_who_open_the_same_content_share_one_copy(tmp_path: Path, copies: Path) -> None:
    one, other = opened(written(tmp_path / "a", 7)), opened(written(tmp_path / "b", 7))
    assert np.array_equal(one, other)
    assert len(list(copies.iterdir())) == 1


def test_a_copy_stays_while_it_is_in_use_and_leaves_with_the_next(
    tmp_path: Path, copies: Path
) -> None:
    first = opened(written(tmp_path / "a", 1))
    second = opened(written(tmp_path / "b", 2))
    assert len(list(copies.iterdir())) == 2
    del first
    third = opened(written(tmp_path / "c", 3))
    assert len(list(copies.iterdir())) == 2
    assert second.max() == 2
    assert third.max() == 3


def test_a_copy_that_was_damaged_is_made_again(tmp_path: Path, copies: Path) -> None:
    path = written(tmp_path / "a", 1)
    opened(path)
    [copy] = copies.iterdir()
    copy.chmod(0o600)
    copy.write_bytes(b"x" * 100)
    assert opened(path).max() == 1


def test_where_no_copy_can_be_made_the_file_is_read(tmp_path: Path, copies: Path) -> None:
    copies.mkdir()
    copies.chmod(0o755)  # others may look into it
    array = opened(written(tmp_path / "a", 7))
    assert not isinstance(array.base, np.memmap)
    assert (array == 7).all()
    assert not list(copies.iterdir())
