"""Filters mean what SQL means, and nothing but a filter gets through."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.ranker_service.filters import (
    BUILT_IN,
    DTYPES,
    Kind,
    parse_filter,
)
from groundswell.serving.errors import InvalidArgument

KINDS = {
    **BUILT_IN,
    "price": Kind.NUMBER,
    "list_price": Kind.NUMBER,
    "brand": Kind.TEXT,
    "sold_out": Kind.FLAG,
    "tags": Kind.TEXTS,
}
ROWS: list[dict[str, Any]] = [
    {"item_id": "a", "title": "A", "categories": ["Comedy", "War"], "price": 5.0, "brand": "acme"},
    {"item_id": "b", "title": "B", "categories": [], "price": 20.0, "brand": "it's", "tags": ["x"]},
    {"item_id": "c", "title": "C", "categories": ["Comedy"], "price": None, "sold_out": True},
    {"item_id": "d", "title": "D", "categories": ["Drama"], "price": -3.5, "sold_out": False},
    {"item_id": "e", "title": "Ünï", "categories": ["War"], "list_price": 7.0, "price": 7.0},
]


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            name: pl.Series(name, [row.get(name) for row in rows], dtype=DTYPES[kind])
            for name, kind in KINDS.items()
        }
    )


def passing(text: str, rows: list[dict[str, Any]] = ROWS) -> list[str]:
    expression = parse_filter(text, KINDS).expression
    found: list[str] = frame(rows).filter(expression)["item_id"].to_list()
    return found


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("price < 20", "ade"),
        ("price < 20 AND array_contains(categories, 'Comedy')", "a"),
        ("price <= 20 and price > -3.5", "abe"),
        ("price >= 2e1", "b"),
        ("20 > price", "ade"),
        ("price BETWEEN -3.5 AND 5", "ad"),
        ("price NOT BETWEEN -3.5 AND 5", "be"),
        ("brand = 'it''s'", "b"),
        ("brand != 'acme'", "b"),
        ("brand <> 'acme'", "b"),
        ("brand IN ('acme', 'it''s')", "ab"),
        ("item_id NOT IN ('a', 'b')", "cde"),
        ("price IN (5, -3.5)", "ad"),
        ("price IS NULL", "c"),
        ("brand IS NOT NULL", "ab"),
        ("NOT (brand IS NULL)", "ab"),
        ("sold_out", "c"),
        ("NOT sold_out", "d"),
        ("sold_out = FALSE", "d"),
        ("sold_out IN (TRUE, FALSE)", "cd"),
        ("array_contains(tags, 'x') OR title = 'Ünï'", "be"),
        ("NOT array_contains(categories, 'Comedy')", "bde"),
        ("price = list_price", "e"),
        ("title >= 'D'", "de"),
        ('"price" = 5', "a"),
        ("((price = 5))", "a"),
        ("price = -(3.5)", "d"),
    ],
)
def test_a_filter_passes_what_sql_would_pass(text: str, due: str) -> None:
    assert passing(text) == list(due)


@pytest.mark.parametrize(
    ("text", "offending"),
    [
        ("nope = 1", "nope"),
        ("description = 'x'", "description"),
        ("available", "available"),
        ("PRICE < 1", "PRICE"),
        ("t.price < 1", "t.price"),
        ("price < 'x'", "'x'"),
        ("price = '5'", "'5'"),
        ("brand = 5", "5"),
        ("brand < price", "brand < price"),
        ("sold_out < TRUE", "sold_out < TRUE"),
        ("sold_out = 'yes'", "'yes'"),
        ("price = NULL", "IS NULL"),
        ("tags = 'x'", "array_contains"),
        ("tags IN ('x')", "array_contains"),
        ("tags BETWEEN 'a' AND 'b'", "array_contains"),
        ("array_contains(brand, 'x')", "brand"),
        ("array_contains(tags, 5)", "5"),
        ("array_contains('x', tags)", "ARRAY_CONTAINS('x', tags)"),
        ("array_contains(tags, 'x', 'y')", "takes a name and a text"),
        ("price = 1e999", "1e999"),
        ("price = 1e", "1e, which is not a number"),
        ("price IN (1, 2e)", "2e, which is not a number"),
        ("CAST(1e400{:}FALSEEXISTS", "cannot be read"),
        ("price IN ()", "list of literals"),
        ("price IN (SELECT 1)", "SELECT 1"),
        ("price IN UNNEST(tags)", "UNNEST"),
        ("price BETWEEN SYMMETRIC 9 AND 1", "BETWEEN"),
        ("brand LIKE 'a%'", "LIKE"),
        ("sold_out IS TRUE", "IS TRUE"),
        ("price + 1 = 2", "price + 1 = 2"),
        ("CAST(price AS INT) = 1", "CAST"),
        ("read_csv('/etc/passwd')", "READ_CSV"),
        ("price = (SELECT 1)", "SELECT 1"),
        ("EXISTS(SELECT 1)", "EXISTS"),
        ("1 = 1", "1 = 1"),
        ("TRUE", "TRUE"),
        ("price", "price"),
        ("price = ?", "?"),
        ("price = :secret", ":secret"),
        ("price = @secret", "@secret"),
        ("CASE WHEN sold_out THEN TRUE END", "CASE"),
        ("price = 1 -- and so on", "comment"),
        ("price /* here */ = 1", "comment"),
        ("price = 1; price = 2", "one condition"),
        ("price = 1; DROP TABLE items", "DROP"),
        ("price = 1 AND", "AND"),
        ("price == == 1", "=="),
        ("brand = 'open", "quote"),
        ("SELECT 1", "SELECT"),
        (" ", "one condition"),
        ("*", "*"),
        ("(" * 900, "nested"),
        ("NOT " * 480 + "sold_out", "nested"),
        ("price = 1 OR " * 40 + "price = 2", "64"),
        ("price = 1" + " " * 2_000, "2000"),
    ],
)
def test_everything_else_is_refused_with_the_part_that_is_wrong(text: str, offending: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text, KINDS)
    assert caught.value.reason == "FILTER_INVALID"
    assert caught.value.field == "filter"
    assert offending in caught.value.message
    assert len(caught.value.message) < 250


def test_a_filter_at_the_limits_is_taken() -> None:
    values = ", ".join(str(n) for n in range(62))
    assert passing(f"price IN ({values})") == ["a", "b", "e"]
    assert passing("price = 5" + " " * 1_991) == ["a"]


def test_a_filter_names_the_columns_that_it_reads() -> None:
    parsed = parse_filter("price < 3 OR (brand IS NULL AND NOT sold_out)", KINDS)
    assert parsed.kinds == {"price": Kind.NUMBER, "brand": Kind.TEXT, "sold_out": Kind.FLAG}


# What SQL's three-valued logic says, as plain Python: None is NULL.


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _and(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    return _not(_and(_not(a), _not(b)))


_NUMBERS = st.sampled_from([-3.5, 0.0, 5.0, 7.0, 20.0])
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@st.composite
def _leaves(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(["compare", "in", "between", "null", "flag", "contains"]))
    if kind == "compare":
        sign, value = draw(st.sampled_from(sorted(_COMPARISONS))), draw(_NUMBERS)
        compare = _COMPARISONS[sign]
        return (
            f"price {sign} {value}",
            lambda row: None if row.get("price") is None else compare(row["price"], value),
        )
    if kind == "in":
        values = draw(st.lists(st.sampled_from(["acme", "it's", "none"]), min_size=1, max_size=3))
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
        return (
            f"brand IN ({listed})",
            lambda row: None if row.get("brand") is None else row["brand"] in values,
        )
    if kind == "between":
        low, high = draw(_NUMBERS), draw(_NUMBERS)
        return (
            f"price BETWEEN {low} AND {high}",
            lambda row: None if row.get("price") is None else low <= row["price"] <= high,
        )
    if kind == "null":
        name = draw(st.sampled_from(["price", "brand", "tags", "sold_out"]))
        return f"{name} IS NULL", lambda row: row.get(name) is None
    if kind == "flag":
        return "sold_out", lambda row: row.get("sold_out")
    word = draw(st.sampled_from(["Comedy", "War", "x"]))
    name = draw(st.sampled_from(["categories", "tags"]))
    return (
        f"array_contains({name}, '{word}')",
        lambda row: None if row.get(name) is None else word in row[name],
    )


def _branches(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    def both(pair: tuple[tuple[str, Any], tuple[str, Any]], word: str, join: Any) -> Any:
        (a, of_a), (b, of_b) = pair
        return f"({a}) {word} ({b})", lambda row: join(of_a(row), of_b(row))

    pairs = st.tuples(inner, inner)
    return st.one_of(
        inner.map(lambda one: (f"NOT ({one[0]})", lambda row: _not(one[1](row)))),
        pairs.map(lambda pair: both(pair, "AND", _and)),
        pairs.map(lambda pair: both(pair, "or", _or)),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(_leaves(), _branches, max_leaves=6))
def test_any_filter_agrees_with_three_valued_logic(made: tuple[str, Any]) -> None:
    text, truth = made
    assert passing(text) == [row["item_id"] for row in ROWS if truth(row) is True]
