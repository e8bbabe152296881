"""Columns of a catalogue → typed attributes: one name and one kind each, for the whole file."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from groundswell.contract.items import (
    ATTRIBUTE_NAME,
    MAX_NAME_LENGTH,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    RESERVED_NAMES,
)
from groundswell.logs.errors import DataError
from groundswell.logs.texts import NOT_UTF8, as_text, as_texts, without_words

NUMBER, FLAG, TEXT, TEXTS = "number", "flag", "text", "texts"
KINDS = (NUMBER, FLAG, TEXT, TEXTS)
LIST_SEPARATOR = "|"

_TRUE, _FALSE = ("true", "yes", "t", "y", "1"), ("false", "no", "f", "n", "0")
_EXACT_INTEGERS = 2**53
_FIXED = r"^-?(?:0|[1-9]\d*)\.(\d+)$"
_EXACT_DIGITS = 15
"""A float holds every decimal number of so many digits exactly."""


class Attribute(NamedTuple):
    """One attribute of N items."""

    name: str
    kind: str
    """Of `KINDS`."""
    why: str
    """Why numbers stay text; empty otherwise."""
    values: pl.Series
    """[N] of the kind; null where an item does not have it."""
    problem: pl.Series
    """[N] why an item's value cannot be taken, as the rest of a sentence; or null."""


def parse_kinds(given: Sequence[str]) -> dict[str, str]:
    """Read texts such as "sku=text". Raises DataError for another form or kind."""
    kinds: dict[str, str] = {}
    for text in given:
        name, _, kind = (part.strip() for part in text.partition("="))
        if kind not in KINDS or not name:
            raise DataError(f"an attribute is NAME=KIND with {', '.join(KINDS)}, not {text!r}")
        if kinds.setdefault(name, kind) != kind:
            raise DataError(f"the attribute {name} is given twice")
    return kinds


def attribute_names(columns: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the attribute's name of each column, and why the others cannot be attributes.

    A name that the contract does not allow is written in lower case without accents, with `_` for
    each run of other characters: "Price (EUR)" becomes price_eur.
    """
    names = {c: c for c in columns if ATTRIBUTE_NAME.fullmatch(c)}
    refused: dict[str, str] = {}
    for column in columns:
        if column in names:
            continue
        name = _legal(column)
        if name is None:
            refused[column] = "its name has no letter or digit from a to z and 0 to 9"
        elif name in RESERVED_NAMES or name in names.values():
            refused[column] = f"another column is {name}"
        else:
            names[column] = name
    return {column: names[column] for column in columns if column in names}, refused


def read_attribute(name: str, column: pl.Series, kind: str | None) -> Attribute:
    """Convert a column to the given kind, or to the one that fits, and check each value."""
    if kind is None:
        kind, why = _kind_of(column)
    else:
        why = ""
    if kind == TEXTS:
        return Attribute(name, kind, why, *_texts(column))
    text = as_text(column).str.strip_chars() if kind != TEXT else as_text(column)
    broken = _problem(text.is_null(), NOT_UTF8)
    if kind == TEXT:
        text = text.str.strip_chars() if column.dtype == pl.String else text
        return Attribute(name, kind, why, _given(text), _first(broken, *_text_problems(text)))
    text, _ = without_words(text)
    if kind == FLAG:
        values, problem = read_flags(text)
        return Attribute(name, kind, why, values, _first(broken, problem))
    values = _given(text).cast(pl.Float64, strict=False)
    bad = (text != "").fill_null(False) & ~values.is_finite().fill_null(False)
    return Attribute(name, kind, why, values, _first(broken, _problem(bad, "not a finite number")))


def read_flags(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Read [n] texts as truth values, null for an empty text; and what is wrong with each."""
    lower = text.str.strip_chars().str.to_lowercase()
    value = pl.DataFrame({"t": lower}).select(
        pl.when(pl.col("t").is_in(_TRUE)).then(True).when(pl.col("t").is_in(_FALSE)).then(False)
    )
    flags = value.to_series()
    wrong = (lower != "").fill_null(False) & flags.is_null()
    return flags, _problem(wrong, "neither true nor false")


def _legal(column: str) -> str | None:
    plain = unicodedata.normalize("NFKD", column.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9_]+", "_", plain).strip("_")
    if not name:
        return None
    return (f"_{name}" if name[0].isdigit() else name)[:MAX_NAME_LENGTH]


def _kind_of(column: pl.Series) -> tuple[str, str]:
    """Find a column's kind, and the reason when numbers stay text."""
    if column.dtype == pl.Boolean:
        return FLAG, ""
    if isinstance(column.dtype, pl.List):
        return TEXTS, ""
    if column.dtype.is_integer():
        large = column.filter(column.cast(pl.Int128).abs() > _EXACT_INTEGERS)
        return (TEXT, f"a number loses digits of {large[0]}") if len(large) else (NUMBER, "")
    if column.dtype.is_float():
        return NUMBER, ""
    given = _given(as_text(column).str.strip_chars()).drop_nulls()
    if len(given) == 0 or column.dtype.is_temporal():
        return TEXT, ""
    if given.str.to_lowercase().is_in(["true", "false"]).all():
        return FLAG, ""
    return _number_or_text(given)


def _number_or_text(given: pl.Series) -> tuple[str, str]:
    """Call a column numbers if writing every number gives its text again, in one form for all.

    The forms are the shortest one (7, 3.5), that of floats (7.0, 3.5), and a fixed number of
    decimals (7.00, 3.50).
    """
    numbers = given.cast(pl.Float64, strict=False)
    finite = numbers.is_finite().fill_null(False)
    back = as_text(numbers)
    same = finite & (back == given)
    same_as_float = finite & (numbers.cast(pl.String) == given)
    if same.all() or same_as_float.all() or _fixed_decimals(given):
        return NUMBER, ""
    if 2 * int(finite.sum()) < len(given):
        return TEXT, ""
    changed, became = given.filter(~same)[0], back.filter(~same)[0]
    if finite.filter(~same)[0]:
        return TEXT, f"as a number, {changed!r} would become {became}"
    return TEXT, f"{changed!r} is not a number"


def _fixed_decimals(given: pl.Series) -> bool:
    decimals = given.str.extract(_FIXED).str.len_chars()
    digits = given.str.count_matches(r"\d")
    return bool(
        decimals.null_count() == 0 and decimals.n_unique() == 1 and (digits <= _EXACT_DIGITS).all()
    )


def _texts(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Read lists of texts; text is split at `|`. Nulls in lists are removed."""
    if isinstance(column.dtype, pl.List):
        broken = _problem(pl.repeat(False, len(column), dtype=pl.Boolean, eager=True), "")
        lists = as_texts(column)
    else:
        text = as_text(column)
        broken = _problem(text.is_null(), NOT_UTF8)
        lists = _given(text.str.strip_chars()).str.split(LIST_SEPARATOR)
    return lists_and_problem(lists, MAX_TEXTS, MAX_TEXT_BYTES, broken)


def lists_and_problem(
    lists: pl.Series, max_texts: int, max_bytes: int, broken: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """Remove the nulls of [n] lists of texts; name the lists that hold too much, or a NUL."""
    table = pl.DataFrame({"lists": lists}).select(pl.col("lists").list.drop_nulls())
    element = pl.element()
    found = table.select(
        longest=pl.col("lists").list.eval(element.str.len_bytes()).list.max(),
        nul=pl.col("lists").list.eval(element.str.contains("\0", literal=True)).list.any(),
        count=pl.col("lists").list.len(),
    )
    return table["lists"], _first(
        broken,
        _problem(found["nul"].fill_null(False), "a text with a NUL"),
        _problem((found["count"] > max_texts).fill_null(False), f"more than {max_texts} texts"),
        _problem(
            (found["longest"] > max_bytes).fill_null(False), f"longer than {max_bytes:,} bytes"
        ),
    )


def _text_problems(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    nul = text.str.contains("\0", literal=True).fill_null(False)
    long = (text.str.len_bytes() > MAX_TEXT_BYTES).fill_null(False)
    return _problem(nul, "a text with a NUL"), _problem(
        long, f"longer than {MAX_TEXT_BYTES:,} bytes"
    )


def _given(text: pl.Series) -> pl.Series:
    return text.set((text == "").fill_null(False), None)


def _problem(wrong: pl.Series, problem: str) -> pl.Series:
    return pl.DataFrame({"w": wrong}).select(pl.when("w").then(pl.lit(problem))).to_series()


def _first(*problems: pl.Series) -> pl.Series:
    table = pl.DataFrame([problem.alias(str(n)) for n, problem in enumerate(problems)])
    return table.select(pl.coalesce("*")).to_series()
