"""Every text is a filter or FILTER_INVALID, and none takes long."""

import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.ranker_service.filters import (
    BUILT_IN,
    DTYPES,
    Filter,
    Kind,
    parse_filter,
    passing_rows,
)
from groundswell.serving.errors import InvalidArgument

KINDS = {
    **BUILT_IN,
    "price": Kind.NUMBER,
    "brand": Kind.TEXT,
    "sold_out": Kind.FLAG,
    "tags": Kind.TEXTS,
}
_FRAME = pl.DataFrame(
    [
        pl.Series("item_id", ["a", "b"]),
        pl.Series("price", [5.0, None]),
        pl.Series("brand", ["acme", None]),
        pl.Series("tags", [["x"], None], dtype=DTYPES[Kind.TEXTS]),
    ]
)


def _passing(text: str) -> list[bool]:
    found: list[bool] = passing_rows(_FRAME, parse_filter(text, KINDS)).tolist()
    return found


_PIECES = r"""
AND OR NOT IN BETWEEN IS NULL SELECT CAST CASE WHEN END array_contains 'x' 1 = <
( ) , ; -- /* */ :: . [ ] { } @ : ? $$ - + || ' " ` \ é
1e 1e5 .5 5. 1e400 0x1F b'1' x'zz' N'a' 1_0 1d 1.2.3 NaN INTERVAL DATE LIKE ANY -> => <=>
IS DISTINCT FROM COLLATE EXISTS SYMMETRIC ESCAPE MAP STRUCT ARRAY UNNEST * / % # ^ ~ & |
"""
_A_FILTER = (
    "price < 20 AND array_contains(tags, 'x') OR NOT sold_out AND brand IN ('a', 'b') "
    "OR price BETWEEN 1 AND 2.5e3"
)
_WORDS = st.sampled_from([*KINDS, *_PIECES.split(), "\x00", "\u202e"])


@st.composite
def _almost_filters(draw: st.DrawFn) -> str:
    """A filter with some of its words replaced."""
    words = _A_FILTER.split(" ")
    for _ in range(draw(st.integers(1, 4))):
        words[draw(st.integers(0, len(words) - 1))] = draw(_WORDS)
    return draw(st.sampled_from(["", " "])).join(words)


_TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(_WORDS, max_size=25).map(" ".join),
    st.lists(_WORDS, max_size=12).map("".join),
    _almost_filters(),
)


@settings(max_examples=600, deadline=None)
@given(_TEXTS)
def test_hostile_text_is_a_filter_or_an_error_that_says_so(text: str) -> None:
    try:
        found = _passing(text)
    except InvalidArgument as error:
        assert error.reason == "FILTER_INVALID"
    else:
        assert len(found) == 2


def test_what_polars_cannot_evaluate_is_the_filters_fault_and_no_fault_of_the_server() -> None:
    not_evaluable = Filter(pl.col("price").str.contains("x"), {"price": Kind.NUMBER})
    with pytest.raises(InvalidArgument, match="cannot be evaluated") as caught:
        passing_rows(_FRAME, not_evaluable)
    assert caught.value.reason == "FILTER_INVALID"


@pytest.mark.parametrize(
    "piece", ["(", "NOT ", "- ", "a=", "CASE ", "[", "{", "a.", "array_contains(", "'", "a,"]
)
def test_no_text_within_the_limit_takes_long_or_ends_the_process(piece: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(InvalidArgument):
        parse_filter((piece * 2_000)[:2_000], KINDS)
    assert time.perf_counter() - begin < 2.0
