"""Columns of any plain type → text and ids; what is changed is noted."""

from typing import NamedTuple

import polars as pl

from groundswell.logs.errors import DataError

NOT_UTF8 = "not UTF-8"
NO_VALUE_WORDS = ("nan", "none", "null", "\\n", "<na>", "nat")
"""What programs write for a missing value, in lower case; `\\n` is a backslash and an n."""
NO_VALUE = "a word for no value (nan, None, NULL, \\N)"
INEXACT = "a float too large to be exact: ids that differ would be one; write ids as text"

_EXACT_BELOW = {"Float16": 2**11, "Float32": 2**24, "Float64": 2**53}
"""From it on, two integers can be the same float."""


_SHORTENED = r"^-?\d([.,]\d+)?[eE]\+?\d\d$"
"""How spreadsheets save numbers of more than eleven digits: 1.23457E+11."""
_FAR_YEARS = 7_000
_SECONDS_A_YEAR = 366 * 86_400
_PER_YEAR = {unit: _SECONDS_A_YEAR * 10**n for unit, n in (("ms", 3), ("us", 6), ("ns", 9))}


class Ids(NamedTuple):
    """A column of ids. [n] rows."""

    text: pl.Series
    """Without blanks at the ends; empty for a missing id, null where it is not UTF-8."""
    problem: pl.Series
    """Why a row's id cannot be used: NO_VALUE, INEXACT, or null."""
    num_stripped: int
    """How many had blanks at an end."""
    num_shortened: int = 0
    """How many look like long numbers that a spreadsheet has shortened."""

    def notes(self, name: str) -> list[str]:
        """How the ids of the column `name` were changed, in sentences for the user."""
        notes = []
        if self.num_stripped:
            notes.append(f"blanks around {self.num_stripped:,} values of {name} were removed")
        if self.num_shortened:
            example = self.text.filter(self.text.str.contains(_SHORTENED))[0]
            notes.append(
                f"{self.num_shortened:,} values of {name}, such as {example!a}, look like numbers "
                "that a spreadsheet shortened: different ones may have become one"
            )
        return notes


def has_text(kind: pl.DataType) -> bool:
    """Whether values of a type can be written as text."""
    return not (kind.is_nested() or kind in (pl.Duration, pl.Object))


def as_text(column: pl.Series) -> pl.Series:
    """Write a column as text; a missing value is empty.

    A float that is whole is written without its fraction and a decimal without zeros at its end,
    so that the number 3 is "3" whatever its type. Raises DataError for a type that has no
    text.
    """
    if column.dtype == pl.String:
        return column
    if not has_text(column.dtype):
        raise DataError(
            f"the column {column.name!r} cannot be read as text: it holds {column.dtype}"
        )
    if column.dtype.is_float():
        return _float_text(column)
    if column.dtype in (pl.Date, pl.Datetime):
        return _time_text(column)
    text = column.cast(pl.String)
    if column.dtype.is_decimal():
        text = text.str.replace(r"\.0+$", "").str.replace(r"(\.\d*[1-9])0+$", "$1")
    return text.fill_null("")


def as_texts(column: pl.Series) -> pl.Series:
    """Write a column of lists as lists of texts, each value as `as_text` does, without nulls."""
    kind = column.dtype
    if isinstance(kind, pl.List) and kind.inner in (pl.String, pl.Categorical):
        return column.cast(pl.List(pl.String))
    rows = [None if row is None else as_text(row.drop_nulls()).to_list() for row in column]
    return pl.Series(column.name, rows, dtype=pl.List(pl.String))


def as_ids(column: pl.Series) -> Ids:
    """Read a column as ids: blanks at the ends are removed, and words for no value are not ids."""
    text = as_text(column)
    stripped = text.str.strip_chars()
    word = stripped.str.to_lowercase().is_in(NO_VALUE_WORDS)
    inexact = _inexact(column)
    problem = pl.DataFrame({"word": word, "inexact": inexact}).select(
        pl.when("word").then(pl.lit(NO_VALUE)).when("inexact").then(pl.lit(INEXACT))
    )
    num_stripped = int(((stripped != text) & (stripped != "")).sum())
    num_shortened = int(stripped.str.contains(_SHORTENED).sum()) if text is column else 0
    return Ids(stripped, problem.to_series(), num_stripped, num_shortened)


def without_words(text: pl.Series) -> tuple[pl.Series, int]:
    """Replace words for no value in a text column by empty texts; return also how many there were.

    For columns whose values may be missing.
    """
    word = text.str.strip_chars().str.to_lowercase().is_in(NO_VALUE_WORDS).fill_null(False)
    count = int(word.sum())
    return (text.set(word, "") if count else text), count


def _float_text(column: pl.Series) -> pl.Series:
    whole = (column.is_finite() & (column == column.round(0))).fill_null(False)
    as_int = column.set(~whole, None).cast(pl.Int128, strict=False).cast(pl.String)
    text = pl.DataFrame({"whole": as_int, "text": column.cast(pl.String)})
    return text.select(pl.coalesce("whole", "text").fill_null("")).to_series().alias(column.name)


def _time_text(column: pl.Series) -> pl.Series:
    """Write dates as ISO-8601, and as numbers those that polars cannot write (far-off years)."""
    number = column.to_physical().cast(pl.Int64)
    per_year = _PER_YEAR.get(getattr(column.dtype, "time_unit", "d"), 366)
    far = (number.abs() > min(_FAR_YEARS * per_year, 2**63 - 1)).fill_null(False)
    text = pl.DataFrame(
        {"text": column.set(far, None).cast(pl.String), "number": number.cast(pl.String)}
    )
    return text.select(pl.coalesce("text", "number").fill_null("")).to_series().alias(column.name)


def _inexact(column: pl.Series) -> pl.Series:
    if not column.dtype.is_float():
        return pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    limit = _EXACT_BELOW[str(column.dtype)]
    return (column.is_finite() & (column.abs() >= limit)).fill_null(False)
