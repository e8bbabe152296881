"""Rows are found by item id, also where hashes are equal."""

import pyarrow as pa
import pytest

from groundswell.artifacts import row_finder
from groundswell.artifacts.row_finder import RowFinder

IDS = [f"item-{n}" for n in range(300)]


@pytest.mark.parametrize("num_hashes", [2**61, 7, 1])
def test_every_id_has_its_row_and_others_have_none(
    num_hashes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_finder, "hash", lambda text: hash(text) % num_hashes, raising=False)
    finder = RowFinder(pa.chunked_array([IDS[:100], IDS[100:]]))
    assert len(finder) == 300
    asked = [*IDS[::-7], "", "nobody", IDS[3], IDS[3]]
    due = [IDS.index(one) if one in IDS else -1 for one in asked]
    assert finder.find(asked).tolist() == due
    assert finder.find([]).tolist() == []


def test_without_ids_nothing_is_found() -> None:
    assert RowFinder(pa.chunked_array([], pa.string())).find(["a"]).tolist() == [-1]
