"""The high-water file is written whole, and a damaged one counts as evidence of a restore."""

from pathlib import Path

import pytest

from groundswell.profile_service.identity.high_water import DAMAGED, HighWater, Mark
from groundswell.profile_service.identity.lineage import LineageKeeper
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.identity import Witness, read_lineage
from groundswell.serving.server import StartError

MARK = Mark("1f", ("2f", "3f"), 7, Witness(1, 2, 3))


async def database_in(folder: Path) -> Database:
    database = Database(f"sqlite+aiosqlite:///{folder / 'groundswell.db'}")
    await database.open()
    return database


def test_a_mark_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    high_water = HighWater(tmp_path / "mark")
    assert high_water.load() is None
    for mark in (MARK, MARK._replace(witness=None)):
        high_water.save(mark)
        assert HighWater(tmp_path / "mark").load() == mark
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


def test_without_a_file_nothing_is_kept() -> None:
    high_water = HighWater(None)
    high_water.save(MARK)
    assert high_water.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "x": 1}'])
def test_what_is_no_mark_is_said_to_be_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "mark").write_text(text)
    assert HighWater(tmp_path / "mark").load() == DAMAGED


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no-folder") as caught:
        HighWater(tmp_path / "no-folder" / "mark").save(MARK)
    assert caught.value.reason == "HIGH_WATER_UNUSABLE"


async def test_a_damaged_file_begins_a_new_lineage_once(tmp_path: Path) -> None:
    database = await database_in(tmp_path)
    lineages = [await database.read(read_lineage)]
    (tmp_path / "mark").write_text("{")
    for _ in range(2):
        keeper = LineageKeeper(database, tmp_path / "mark")
        await keeper.start()
        await keeper.close()
        lineages.append(await database.read(read_lineage))
    await database.close()
    assert lineages[0] != lineages[1] == lineages[2]


async def test_a_new_database_beside_the_file_of_an_older_one_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    HighWater(tmp_path / "mark").save(MARK)
    database = await database_in(tmp_path)
    lineage = await database.read(read_lineage)
    keeper = LineageKeeper(database, tmp_path / "mark")
    await keeper.start()
    await keeper.close()
    assert await database.read(read_lineage) == lineage
    await database.close()
    mark = HighWater(tmp_path / "mark").load()
    assert mark is not None
    assert (mark.lineage, mark.past) == (lineage, ("2f", "3f", "1f"))
