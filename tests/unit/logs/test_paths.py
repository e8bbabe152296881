"""The file that is named is read, whatever is in its name; a folder is read as its parts."""

import os
from pathlib import Path

import polars as pl
import pytest

from groundswell.logs.errors import DataError
from groundswell.logs.raw_table import LINE, ROW
from groundswell.logs.tables import read_table

NAMES = (
    "log[1].parquet",
    "log*.parquet",
    "log?.parquet",
    "log%201.parquet",
    "log 1.parquet",
    "-log.parquet",
    "~log.parquet",
    "{log}.parquet",
    "user=1.parquet",
    "café.parquet",
    "log#1.parquet",
    "s3:log.parquet",
)
NEIGHBOURS = ("log1.parquet", "logs.parquet", "log.parquet", "log 1.parquet")


def frame(value: str) -> pl.DataFrame:
    return pl.DataFrame({"a": [value], "b": ["2"]})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_exactly_the_named_file_is_read(tmp_path: Path, name: str, form: str) -> None:
    for neighbour in {*NEIGHBOURS, name}:
        target = tmp_path / neighbour
        value = "right" if neighbour == name else "wrong"
        if form == "parquet":
            with target.open("wb") as file:
                frame(value).write_parquet(file)
        else:
            target.write_text(f"a,b\n{value},2\n", encoding="utf-8")
    assert read_table(tmp_path / name, ("a", "b")).frame["a"].to_list() == ["right"]


@pytest.mark.parametrize("name", ["log[1].parquet", "log*.parquet", "log?.csv"])
def test_a_name_that_would_match_another_file_as_a_pattern_is_no_file(
    tmp_path: Path, name: str
) -> None:
    for neighbour in ("log1.parquet", "log1.csv"):
        frame("wrong").write_parquet(tmp_path / neighbour)
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / name, ("a", "b"))


def test_a_relative_name_may_begin_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-log.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert read_table(Path("-log.csv"), ("a", "b")).num_rows == 1


def test_a_folder_is_read_as_the_parts_that_spark_writes(tmp_path: Path) -> None:
    folder = tmp_path / "log [1].parquet"
    folder.mkdir()
    frame("1").write_parquet(folder / "part-00000-x.snappy.parquet")
    frame("2").write_parquet(folder / "part-00001-x.snappy.parquet")
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-x.snappy.parquet.crc"):
        (folder / name).write_bytes(b"")
    table = read_table(folder, ("a", "b"))
    assert table.frame.select(ROW, LINE, "a").rows() == [(0, 1, "1"), (1, 2, "2")]
    assert "2 parts" in table.notes[0]


def test_lines_are_counted_through_the_parts_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text("a,b\n1,2\n3\n", encoding="utf-8")
    (tmp_path / "part-1.csv").write_text("b,a\n6,5\n", encoding="utf-8")
    table = read_table(tmp_path, ("a", "b"))
    assert table.frame.select(ROW, LINE, "a", "b").rows() == [(0, 2, "1", "2"), (2, 5, "5", "6")]
    assert table.left_out["line"].to_list() == [3]
    assert table.num_rows == 3


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "a folder without a file to read"),
        ({"_SUCCESS": b""}, "a folder without a file to read"),
        ({"a.csv": b"a,b\n1,2\n", "b.csv": b"a,b,c\n1,2,3\n"}, "do not both have the column 'c'"),
        ({"day=1/a.csv": b"a,b\n1,2\n"}, "holds folders, such as 'day=1'"),
        ({"a.csv": b"a,b\n1,2\n", "b.txt": b"notes"}, "b.txt has"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, parts: dict[str, bytes], said: str
) -> None:
    for name, content in parts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path, ("a", "b"))


def test_parts_whose_columns_differ_in_type_are_not_joined(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "b": [1]}).write_parquet(tmp_path / "0.parquet")
    pl.DataFrame({"a": [1.5], "b": [1]}).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"'a' holds Int64 in .*Float64 in"):
        read_table(tmp_path, ("a", "b"))


def test_what_is_no_regular_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="not a regular file"):
        read_table(pipe, ("a", "b"))
    with pytest.raises(DataError, match="not a regular file"):
        read_table(Path("/dev/null"), ("a", "b"))
