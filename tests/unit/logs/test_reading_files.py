"""Files become tables, and what is no row is named with its line."""

from pathlib import Path

import polars as pl
import pytest

from groundswell.logs.errors import DataError
from groundswell.logs.raw_table import LINE, OPEN_QUOTE, ROW, WRONG_FIELDS
from groundswell.logs.tables import read_table
from tests.unit.trainer.logs import write


def read(path: Path, text: str | bytes) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    table = read_table(write(path, text), ("a", "b"))
    assert table.num_rows == table.frame.height + table.left_out.height
    return table.frame, table.left_out.sort("line").rows()


def test_lines_are_those_of_an_editor_though_values_span_lines(tmp_path: Path) -> None:
    text = 'a,b\n1,"two\nlines"\n3\n"x\ny",2,3\n4,5\n\n6,7\n\n,\n'
    frame, left_out = read(tmp_path / "t.csv", text)
    assert frame.select(ROW, LINE, "a").rows() == [(0, 2, "1"), (3, 7, "4"), (4, 9, "6")]
    assert left_out == [(4, WRONG_FIELDS), (5, OPEN_QUOTE)]


def test_windows_line_ends_a_byte_order_mark_and_blanks_in_the_header_do_not_matter(
    tmp_path: Path,
) -> None:
    frame, left_out = read(tmp_path / "t.csv", b"\xef\xbb\xbfa, b\r\n1,2\r\n3,4")
    assert frame.select("a", "b").rows() == [("1", "2"), ("3", "4")]
    assert left_out == []


def test_what_is_not_utf8_is_null_and_its_neighbours_are_not(tmp_path: Path) -> None:
    frame, _ = read(tmp_path / "t.csv", b"a,b\ncaf\xe9,1\ncaf\xc3\xa9,2\n")
    assert frame.select("a", "b").rows() == [(None, "1"), ("café", "2")]


def test_a_row_that_is_neither_complete_nor_utf8_is_left_out_alone(tmp_path: Path) -> None:
    frame, left_out = read(tmp_path / "t.csv", b"\xef\xbb\xbfa,b\n1,2\n\xe9\n\xe9,3\n4,5\xe2\x82")
    assert frame.select("a", "b").rows() == [("1", "2"), (None, "3"), ("4", None)]
    assert left_out == [(3, WRONG_FIELDS)]


def test_bytes_in_parquet_are_text_where_they_are_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": [b"caf\xc3\xa9", b"\xff", None], "b": [1, 2, 3]}).write_parquet(path)
    assert read_table(path, ("a", "b")).frame["a"].to_list() == ["café", None, ""]


def test_a_parquet_file_is_known_by_its_content_and_missing_texts_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pl.DataFrame({"a": ["x", None], "b": [1, None]}).write_parquet(path)
    frame = read_table(path, ("a", "b")).frame
    assert frame.rows() == [(0, 1, "x", 1), (1, 2, "", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"a,b\n", "a header but no rows"),
        (b"a,c\n1,2\n", "no column 'b'; its columns are a, c"),
        (b"a,b,b\n1,2,3\n", "the column 'b' twice"),
        (b"\xff,b\n1,2\n", "header"),
        (b"PAR1 is not enough", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "broken.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_table(path, ("a", "b"))
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        read_table(tmp_path, ("a", "b"))
