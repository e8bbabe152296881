"""One user is taken out of logs and prepared folders, and nothing else changes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundswell.trainer.dataset.prepared import OF_EVENTS, load_prepared
from groundswell.trainer.dataset.without_user import take_out
from groundswell.trainer.errors import DataError
from tests.support.worlds import prepared_world

USER = "user-0003"


def test_a_prepared_folder_loses_one_user_and_the_cache_of_texts(tmp_path: Path) -> None:
    folder = prepared_world(tmp_path, users=6)
    (folder / "text_vectors").mkdir()
    before = load_prepared(folder)
    gone = before.users == before.user_ids.index(USER)
    assert take_out(folder, USER) == gone.sum() > 0
    after = load_prepared(folder)
    assert after.user_ids == [one for one in before.user_ids if one != USER]
    for name in OF_EVENTS:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[~gone])
    assert after.num_items == before.num_items
    assert not (folder / "text_vectors").exists()
    assert all(USER.encode() not in path.read_bytes() for path in folder.iterdir())
    assert take_out(folder, USER) == 0


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_log_loses_one_user(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"log.{ending}"
    file.touch(mode=0o600)
    link = tmp_path / f"link.{ending}"
    link.symlink_to(file)
    log = pl.DataFrame({"user_id": ["a", USER, "b", None], "value": ["1", "2", "", "4"]})
    log.write_csv(file) if ending == "csv" else log.write_parquet(file)
    assert take_out(link, USER) == 1
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
    assert USER.encode() not in file.read_bytes()
    read = pl.read_csv(file, infer_schema=False) if ending == "csv" else pl.read_parquet(file)
    assert read["user_id"].to_list() == ["a", "b", None]
    with pytest.raises(DataError, match="no column"):
        pl.DataFrame({"x": [1]}).write_csv(tmp_path / "other.csv")
        take_out(tmp_path / "other.csv", USER)
    pl.DataFrame({"user_id": [1.0]}).write_parquet(tmp_path / "floats.parquet")
    with pytest.raises(DataError, match="neither texts nor integers"):
        take_out(tmp_path / "floats.parquet", "1")
    assert [path.name for path in tmp_path.glob(".*")] == []
