"""An attribute has one kind for the whole file; a number only where no text is changed."""

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from groundswell.contract.items import MAX_ATTRIBUTES, MAX_CATEGORIES, MAX_TEXTS
from groundswell.logs.attributes import parse_kinds, read_attribute
from groundswell.logs.errors import DataError
from groundswell.logs.items import Items, read_items
from tests.unit.trainer.logs import write


def read(folder: Path, text: str, **kinds: str) -> Items:
    return read_items(write(folder / "i.csv", text), kinds=kinds)


def kind_of(*values: object) -> tuple[str, list[object]]:
    attribute = read_attribute("x", pl.Series(values), None)
    return attribute.kind, attribute.values.to_list()


@pytest.mark.parametrize(
    ("texts", "changed"),
    [
        (("1234567890123456789", "1234567890123456790"), "1234567890123456789"),
        (("007", "8"), "007"),
        (("1e5", "2"), "1e5"),
        (("+5", "6"), "+5"),
        (("1.50", "1.5"), "1.50"),
        (("10", "2.50"), "2.50"),
        (("7", "7.0"), "7.0"),
        (("nan", "1", "2"), "nan"),
        (("inf", "1", "2"), "inf"),
        (("-0", "1"), "-0"),
        ((".5", "1"), ".5"),
        (("0.1234567890123456789", "0.5"), "0.1234567890123456789"),
    ],
)
def test_text_that_would_be_changed_as_a_number_stays_text_and_says_why(
    texts: tuple[str, ...], changed: str
) -> None:
    attribute = read_attribute("x", pl.Series(texts), None)
    assert (attribute.kind, attribute.values.to_list()) == ("text", list(texts))
    assert repr(changed) in attribute.why


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (("1", "-2", "0"), [1.0, -2.0, 0.0]),
        (("0.5", "3", "2.25"), [0.5, 3.0, 2.25]),
        (("1.50", "10.00", "2.99"), [1.5, 10.0, 2.99]),
        (("7.0", "3.25", "-0.5"), [7.0, 3.25, -0.5]),
        (("9007199254740991",), [9007199254740991.0]),
        ((" 5 ", ""), [5.0, None]),
    ],
)
def test_text_that_comes_back_the_same_is_a_number(
    texts: tuple[str, ...], numbers: list[float | None]
) -> None:
    assert kind_of(*texts) == ("number", numbers)


def test_every_value_of_a_column_decides_not_each_row_for_itself(tmp_path: Path) -> None:
    items = read(tmp_path, "item_id,title,sku\na,A,12\nb,B,034\n")
    assert items.attribute_kinds == {"sku": "text"}
    assert [json.loads(row) for row in items.frame["attributes"]] == [{"sku": "12"}, {"sku": "034"}]
    assert items.notes == ("the attribute sku is text: as a number, '034' would become 34",)


def test_the_kind_can_be_said(tmp_path: Path) -> None:
    text = "item_id,title,sku,price,new,tags\na,A,12,1.5,1,x|y\nb,B,13,+2,no,\n"
    items = read(tmp_path, text, sku="text", price="number", new="flag", tags="texts")
    assert [json.loads(row) for row in items.frame["attributes"]] == [
        {"sku": "12", "price": 1.5, "new": True, "tags": ["x", "y"]},
        {"sku": "13", "price": 2.0, "new": False},
    ]


def test_an_item_whose_value_is_not_of_the_kind_that_is_said_is_left_out(tmp_path: Path) -> None:
    items = read(tmp_path, "item_id,title,p\na,A,1\nb,B,many\nc,C,NULL\nd,D,inf\n", p="number")
    assert items.frame["item_id"].to_list() == ["a", "c"]
    assert items.left_out.rows() == [
        (3, "attribute p: not a finite number"),
        (5, "attribute p: not a finite number"),
    ]


def test_an_attribute_keeps_the_kind_of_the_catalogue(tmp_path: Path) -> None:
    path = write(tmp_path / "i.csv", "item_id,title,zip\na,A,12345\n")
    assert read_items(path).attribute_kinds == {"zip": "number"}
    items = read_items(path, catalogue_kinds={"zip": "text", "other": "flag"})
    assert json.loads(items.frame["attributes"][0]) == {"zip": "12345"}


def test_a_kind_of_an_attribute_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no attribute 'prize'; its attributes are price"):
        read(tmp_path, "item_id,title,price\na,A,1\n", prize="number")


@pytest.mark.parametrize("text", ["sku", "sku=", "sku=int", "=text"])
def test_a_kind_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="NAME=KIND"):
        parse_kinds([text])


def test_a_kind_given_twice_must_be_the_same() -> None:
    assert parse_kinds(["a=text", "a=text", "b = flag"]) == {"a": "text", "b": "flag"}
    with pytest.raises(DataError, match="twice"):
        parse_kinds(["a=text", "a=number"])


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pl.Series([2**53 + 1, 1]), "text", ["9007199254740993", "1"]),
        (pl.Series([2**53, 1]), "number", [2.0**53, 1.0]),
        (pl.Series([3.1, 2.0], dtype=pl.Float32), "number", [3.1, 2.0]),
        (pl.Series([1.5, float("nan")]), "number", [1.5, None]),
        (pl.Series([Decimal("3.50"), Decimal("0.10")]), "number", [3.5, 0.1]),
        (pl.Series([Decimal("1234567890123456789")]), "text", ["1234567890123456789"]),
        (pl.Series([True, None]), "flag", [True, None]),
        (pl.Series([["a", None], []]), "texts", [["a"], []]),
        (pl.Series([[3.0, 3.5], None]), "texts", [["3", "3.5"], None]),
        (pl.Series([[2**62]], dtype=pl.List(pl.Datetime("ms"))), "texts", [[str(2**62)]]),
        (pl.Series([20_000, 1], dtype=pl.Date), "text", ["2024-10-04", "1970-01-02"]),
    ],
)
def test_types_of_parquet_keep_their_values(
    column: pl.Series, kind: str, values: list[object]
) -> None:
    attribute = read_attribute("x", column, None)
    assert (attribute.kind, attribute.values.to_list()) == (kind, values)
    assert attribute.problem.null_count() == len(column)


def test_an_infinite_number_of_parquet_is_not_dropped_without_a_word() -> None:
    attribute = read_attribute("x", pl.Series([1.0, float("inf")]), None)
    assert attribute.problem.to_list() == [None, "not a finite number"]


def test_whether_an_item_is_available_is_read(tmp_path: Path) -> None:
    rows = ("a,A,true", "b,B,FALSE", "c,C,", "d,D,0", "e,E,yes", "f,F,perhaps")
    items = read(tmp_path, "item_id,title,available\n" + "\n".join(rows) + "\n")
    assert items.frame["available"].to_list() == [True, False, None, False, True]
    assert items.left_out.rows() == [(7, "available: neither true nor false")]
    assert items.attribute_kinds == {}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("item_id", "x" * 257, "item_id is longer than 256 bytes"),
        ("title", "é" * 1_001, "title is longer than 2,000 bytes"),
        ("title", "x\0", "title holds a NUL"),
        ("description", "x" * 20_001, "description is longer than 20,000 bytes"),
        ("categories", "x" * 257, "categories: longer than 256 bytes"),
        ("categories", "|".join(map(str, range(MAX_CATEGORIES + 1))), "categories: more than 64"),
        ("categories", "x\0", "categories: a text with a NUL"),
        ("brand", "x" * 1_025, "attribute brand: longer than 1,024 bytes"),
        ("brand", "x\0", "attribute brand: a text with a NUL"),
        ("tags", "|".join(map(str, range(MAX_TEXTS + 1))), "attribute tags: more than 64 texts"),
    ],
)
def test_what_the_services_would_refuse_is_left_out_with_its_reason(
    tmp_path: Path, name: str, value: str, reason: str
) -> None:
    row = {
        "item_id": "a",
        "title": "A",
        "description": "",
        "categories": "",
        "brand": "",
        "tags": "",
    }
    header, good, bad = (
        ",".join(row),
        ",".join(row.values()),
        ",".join({**row, "item_id": "b", name: value}.values()),
    )
    items = read(tmp_path, f"{header}\n{good}\n{bad}\n", tags="texts")
    assert items.frame["item_id"].to_list() == ["a"]
    ((line, found),) = items.left_out.rows()
    assert (line, found.startswith(reason)) == (3, True)


def test_an_item_with_too_many_attributes_is_left_out(tmp_path: Path) -> None:
    names = [f"x{n}" for n in range(MAX_ATTRIBUTES + 1)]
    header = ",".join(("item_id", "title", *names))
    rows = (
        ",".join(("a", "A", *"1" * len(names))),
        ",".join(("b", "B", "", *"1" * (len(names) - 1))),
    )
    items = read(tmp_path, "\n".join((header, *rows)) + "\n")
    assert items.frame["item_id"].to_list() == ["b"]
    assert items.left_out.rows() == [(2, "more than 64 attributes")]


@pytest.mark.parametrize("name", ["title", "description", "categories", "brand", "available"])
def test_what_is_not_utf8_is_never_dropped_without_a_word(tmp_path: Path, name: str) -> None:
    header = "item_id,title,description,categories,brand,available"
    row = dict.fromkeys(header.split(","), "") | {"item_id": "b", name: "caf\udce9"}
    text = f"{header}\na,,,,,\n{','.join(row.values())}\n"
    items = read_items(write(tmp_path / "i.csv", text.encode(errors="surrogateescape")))
    ((line, reason),) = items.left_out.rows()
    assert line == 3
    assert "not UTF-8" in reason


def test_a_good_item_behind_a_bad_one_with_its_id_is_kept(tmp_path: Path) -> None:
    items = read(tmp_path, f"item_id,title\na,{'x' * 2_001}\na,Good\n")
    assert items.frame["title"].to_list() == ["Good"]


def test_an_item_larger_than_a_message_may_be_is_left_out(tmp_path: Path) -> None:
    texts = "|".join(["x" * 1_000] * 60)
    header = ",".join(("item_id", "title", *(f"x{n}" for n in range(5))))
    text = "\n".join((header, f"a,A{f',{texts}' * 4},", f"b,B{f',{texts}' * 5}", ""))
    items = read(tmp_path, text, **{f"x{n}": "texts" for n in range(5)})
    assert items.frame["item_id"].to_list() == ["a"]
    assert items.left_out.rows() == [(3, "the item is larger than 262,144 bytes")]
