"""Files that were replaced by something unreadable are counted until they can be read."""

import gc
from pathlib import Path

from groundswell.client.files import Reloaded, num_failing


def test_what_cannot_be_read_again_is_counted_until_it_can(tmp_path: Path) -> None:
    gc.collect()  # of other tests
    files = [tmp_path / name for name in ("one", "other")]
    for file in files:
        file.write_text("1")
    read = [Reloaded([file], lambda file=file: int(file.read_text())) for file in files]  # type: ignore[misc]
    before = num_failing()
    for file, content in zip(files, ("no number", "2"), strict=True):
        file.write_text(content)
    assert [one.look_now() for one in read] == [False, True]
    assert num_failing() == before + 1
    files[1].unlink()
    assert [one.look_now() for one in read] == [False, False]
    assert num_failing() == before + 2
    assert [one() for one in read] == [1, 2]
    for file in files:
        file.write_text("33")
    assert [one.look_now() for one in read] == [True, True]
    assert num_failing() == before
