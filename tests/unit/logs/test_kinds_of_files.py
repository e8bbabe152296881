"""CSV of any usual form is read; what is no CSV is named with what to do."""

import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from groundswell.logs.errors import DataError
from groundswell.logs.raw_table import OPEN_QUOTE, RawTable
from groundswell.logs.tables import read_table
from tests.unit.trainer.logs import write

TABLE = b"a,b\n1,2\n"


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def read(folder: Path, content: bytes, separator: str | None = None) -> RawTable:
    return read_table(write(folder / "t.csv", content), ("a", "b"), separator=separator)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (gzip.compress(TABLE, mtime=0), "unpacked by gzip"),
        (gzip.compress(TABLE[:5], mtime=0) + gzip.compress(TABLE[5:], mtime=0), "unpacked by gzip"),
        (bz2.compress(TABLE), "unpacked by bzip2"),
        (zstd(TABLE), "unpacked by zstd"),
        (TABLE.replace(b",", b"\t"), "columns separated by tabs"),
        (TABLE.replace(b",", b";"), "columns separated by semicolons"),
        (TABLE.replace(b",", b"|"), "columns separated by bars"),
        (TABLE.decode().encode("utf-16"), "read as UTF-16"),
        (b"\xfe\xff" + TABLE.decode().encode("utf-16-be"), "read as UTF-16"),
        (gzip.compress(TABLE.replace(b",", b";"), mtime=0), "columns separated by semicolons"),
    ],
)
def test_other_forms_of_csv_are_read_and_said(tmp_path: Path, content: bytes, note: str) -> None:
    table = read(tmp_path, content)
    assert table.frame.select("a", "b").rows() == [("1", "2")]
    assert note in table.notes


def test_plain_csv_is_worth_no_note_whatever_the_name_of_the_file_says(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv.gz", TABLE), ("a", "b"))
    assert table.notes == ()


@pytest.mark.parametrize(("said", "character"), [("tab", "\t"), ("\\t", "\t"), ("^", "^")])
def test_a_separator_can_be_said(tmp_path: Path, said: str, character: str) -> None:
    content = TABLE.replace(b",", character.encode())
    assert read(tmp_path, content, said).frame.select("a", "b").rows() == [("1", "2")]


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n", "é"])
def test_a_separator_is_one_character(tmp_path: Path, separator: str) -> None:
    with pytest.raises(DataError, match="a separator is one character"):
        read(tmp_path, TABLE, separator)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'a,"b\n1,2\n3,4\n', "a quote never closed"),
        (b'a,"b\n' + b"1,2\n" * 50_000, "a quote never closed"),
        (b"PK\x03\x04xl/workbook.xml", "an Excel workbook; unpack it, or save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook; save it as CSV"),
        (b'{"a": 1, "b": 2}\n', "JSON; write it as CSV or Parquet"),
        (b"\xfd7zXZ\x00", "compressed by xz"),
        (b"SQLite format 3\x00", "a SQLite database"),
        (gzip.compress(TABLE, mtime=0)[:-6], "cannot be read: Compressed file ended"),
        (bz2.compress(TABLE)[:-6], "cannot be read: Compressed file ended"),
        (zstd(TABLE)[:-2], "cannot be read: Truncated"),
        (gzip.compress(b"PAR1...PAR1", mtime=0), "is Parquet compressed by gzip; unpack it"),
        (TABLE.decode().encode("utf-16-le"), "holds NUL bytes"),
        (b"\xff\xfea\x00,\x00b\x00\n", "begins as UTF-16 but cannot be decoded"),
        ("a,b,größe\n1,2,3\n".encode("latin-1"), "is not UTF-8: convert it"),
        (b"sep=;\na;b\n1;2\n", "begins with 'sep=;': remove that line"),
        (b"\na,b\n1,2\n", "its first line is empty"),
        (b"\ra\n", "its first line is empty"),
        (b"a,b", "a header but no rows"),
        (b"A,b\n1,2\n", "rename 'A' to 'a'"),
        (b"a,b,b\n1,2,3\n", "the column 'b' twice"),
        (b"a\tc\n1\t2\n", "no column 'b'; its columns are a, c$"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_line_with_what_to_do(
    tmp_path: Path, content: bytes, said: str
) -> None:
    with pytest.raises(DataError, match=said) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "t.csv") in str(error.value)


def test_a_quote_that_is_open_to_the_end_does_not_swallow_rows_without_a_word(
    tmp_path: Path,
) -> None:
    table = read(tmp_path, b'a,b\n1,2\n3,"4\n5,6\n7,8\n')
    assert table.frame.select("a", "b").rows() == [("1", "2")]
    assert table.left_out.rows() == [(3, OPEN_QUOTE)]
    assert table.notes == ("2 more lines belong to rows left out whose quote may never be closed",)


def test_lines_that_a_quote_took_into_a_row_of_wrong_fields_are_counted(tmp_path: Path) -> None:
    table = read(tmp_path, b'a,b\n1,2\n"3,4\n5,6\n7",8,9\n1,2\n')
    assert table.left_out.rows() == [(3, OPEN_QUOTE)]
    assert table.notes == ("2 more lines belong to rows left out whose quote may never be closed",)


def test_columns_without_a_name_are_called_by_their_place(tmp_path: Path) -> None:
    table = read(tmp_path, b",a,b,\n0,1,2,\n")
    assert table.names == ["(column 1)", "a", "b", "(column 4)"]


def test_line_ends_of_old_macintoshes_and_windows_are_read(tmp_path: Path) -> None:
    for end in (b"\r", b"\r\n"):
        table = read(tmp_path, TABLE.replace(b"\n", end))
        assert table.frame.select("a", "b").rows() == [("1", "2")]


def test_tabs_are_shown_as_tabs_where_they_are_no_separator(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its columns are 'a\\tb'"):
        read(tmp_path, TABLE.replace(b",", b"\t"), ",")


def test_a_file_in_another_encoding_is_named_beside_the_rows_that_it_costs(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\ncafé,2\n".encode("latin-1"))
    assert table.notes == ("not all of it is UTF-8: convert it, as by iconv -f LATIN1 -t UTF-8",)


_BACKSLASHES = "a quote after a backslash is read as part of the value"


@pytest.mark.parametrize(
    ("content", "rows", "notes"),
    [
        # As Spark, MySQL and PHP write them.
        (rb'''a,b
1,"27\" screen, black"
2,C:\
3,"said \"no\""
''', [("1", '27" screen, black'), ("2", "C:\\"), ("3", 'said "no"')], (_BACKSLASHES,)),
        (rb'''a,b
1,"a \"b\" \\"
''', [("1", 'a "b" \\\\')], (_BACKSLASHES,)),
        # A value that ends in a backslash escapes nothing.
        (rb'''a,b
"C:\","x"
"D:\",2
''', [("C:\\", "x"), ("D:\\", "2")], ()),
        (rb'''a,b
1,12\" pipe
''', [("1", '12\\" pipe')], ()),
    ],
)  # fmt: skip
def test_quotes_that_a_backslash_escapes_are_read_as_quotes_and_said(
    tmp_path: Path, content: bytes, rows: list[tuple[str, str]], notes: tuple[str, ...]
) -> None:
    table = read(tmp_path, content)
    assert table.frame.select("a", "b").rows() == rows
    assert table.notes == notes
    assert table.left_out.height == 0
