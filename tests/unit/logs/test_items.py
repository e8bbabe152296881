"""The item file becomes the catalogue's table."""

import json
from pathlib import Path

import polars as pl
import pytest

from groundswell.logs.errors import DataError
from groundswell.logs.items import SECOND, read_items
from tests.unit.trainer.logs import write


def read(path: Path, text: str) -> pl.DataFrame:
    return read_items(write(path / "i.csv", text)).frame


def test_categories_are_split_at_bars_without_blanks_empties_and_repeats(tmp_path: Path) -> None:
    frame = read(tmp_path, "item_id,title,categories\na,A,Drama | War||Drama\nb,B,\n")
    assert frame["categories"].to_list() == [["Drama", "War"], []]


def test_other_columns_are_attributes_of_one_kind_each(tmp_path: Path) -> None:
    header = "item_id,title,price,new,zip,brand,mixed"
    frame = read(tmp_path, f"{header}\na,A,3.5,true,0123,acme,1\nb,B,,FALSE,9999,,x\n")
    assert [json.loads(text) for text in frame["attributes"]] == [
        {"price": 3.5, "new": True, "zip": "0123", "brand": "acme", "mixed": "1"},
        {"new": False, "zip": "9999", "mixed": "x"},
    ]


def test_parquet_attributes_keep_their_types(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "item_id": [1, 2],
            "title": ["A", None],
            "categories": [["x", "y"], None],
            "stock": [3, None],
            "rating": [float("nan"), 1.5],
            "tags": [["new", "blue"], None],
            "sold": [True, False],
        }
    ).write_parquet(tmp_path / "i.parquet")
    frame = read_items(tmp_path / "i.parquet").frame
    assert frame.select("item_id", "title", "categories").rows() == [
        ("1", "A", ["x", "y"]),
        ("2", "", []),
    ]
    assert [json.loads(text) for text in frame["attributes"]] == [
        {"stock": 3, "tags": ["new", "blue"], "sold": True},
        {"rating": 1.5, "sold": False},
    ]


def test_lists_lose_what_is_null_and_an_item_with_a_nul_is_left_out(tmp_path: Path) -> None:
    tags = [["x", None], ["x\0y"]]
    frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], "tags": tags})
    frame.write_parquet(tmp_path / "i.parquet")
    items = read_items(tmp_path / "i.parquet")
    assert items.frame["attributes"].to_list() == ['{"tags": ["x"]}']
    assert items.left_out.rows() == [(2, "attribute tags: a text with a NUL")]


@pytest.mark.parametrize("name", ["title", "categories"])
def test_a_nested_column_is_refused_by_name(tmp_path: Path, name: str) -> None:
    columns = {"item_id": ["a"], "title": ["A"], name: [{"part": 1}]}
    pl.DataFrame(columns).write_parquet(tmp_path / "i.parquet")
    with pytest.raises(DataError, match=f"'{name}'"):
        read_items(tmp_path / "i.parquet")


def test_a_column_becomes_a_legal_attribute_or_is_named_with_its_reason(tmp_path: Path) -> None:
    text = "item_id,title,Price (EUR),price_eur,Größe,1st,日本,Title!,__x\na,A,3,4,5,6,7,8,9\n"
    items = read_items(write(tmp_path / "i.csv", text))
    assert json.loads(items.frame["attributes"][0]) == {
        "price_eur": 4,
        "grosse": 5,
        "_1st": 6,
        "__x": 9,
    }
    assert items.ignored_columns == (
        "'Price (EUR)' (another column is price_eur)",
        "'日本' (its name has no letter or digit from a to z and 0 to 9)",
        "'Title!' (another column is title)",
    )
    assert "the column 'Größe' is the attribute grosse" in items.notes


def test_a_nested_column_is_no_attribute_and_is_named(tmp_path: Path) -> None:
    columns = {"item_id": ["a"], "title": ["A"], "size": [{"part": 1}]}
    pl.DataFrame(columns).write_parquet(tmp_path / "i.parquet")
    (ignored,) = read_items(tmp_path / "i.parquet").ignored_columns
    assert ignored.startswith("'size' (it holds Struct")


def test_an_item_given_twice_counts_once_and_is_listed(tmp_path: Path) -> None:
    items = read_items(write(tmp_path / "i.csv", "item_id,title\na,First\n,None\na,Second\n"))
    assert items.frame["title"].to_list() == ["First"]
    assert items.left_out.rows() == [(3, "item_id is missing"), (4, SECOND)]
    assert items.num_rows == 3


def test_an_item_file_without_a_title_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"i\.csv has no column 'title'"):
        read_items(write(tmp_path / "i.csv", "item_id,name\na,A\n"))


@pytest.mark.parametrize("value", ["['Red', 'Blue']", '["Red"]', "Red, Blue", "Red;Blue", "A > B"])
def test_categories_that_nothing_parts_are_named(tmp_path: Path, value: str) -> None:
    quoted = '"' + value.replace('"', '""') + '"'
    path = write(tmp_path / "i.csv", f"item_id,title,categories\na,A,{quoted}\nb,B,\nc,C,\n")
    note = f"categories are separated by |, but no value has one: {value!a} is one category"
    assert read_items(path).notes == (note,)


def test_categories_of_one_name_or_parted_by_bars_are_worth_no_note(tmp_path: Path) -> None:
    for values in (("Drama", "War", "Food, Drinks"), ("A, B|C", "D, E", "F, G")):
        rows = "".join(f'{n},T,"{value}"\n' for n, value in enumerate(values))
        path = write(tmp_path / "i.csv", "item_id,title,categories\n" + rows)
        assert read_items(path).notes == ()


def test_what_costs_every_row_its_encoding_says_how_to_convert_it(tmp_path: Path) -> None:
    path = tmp_path / "i.csv"
    path.write_bytes("item_id,title\na,Café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"title is not UTF-8 \(not all .* iconv -f LATIN1"):
        read_items(path)
