"""The item file → the catalogue's table: titles, categories and typed attributes."""

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from groundswell.logs.errors import DataError
from groundswell.logs.events import NOT_UTF8, as_text
from groundswell.logs.tables import LINE, ROW, read_table

REQUIRED = ("item_id", "title")
_OWN = ("item_id", "title", "description", "categories")
_RESERVED = (*_OWN, "available")
_ATTRIBUTE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_MAX_ID_BYTES = 256
_LEADING_ZERO = r"^-?0\d"
SECOND = "item_id was given before"

COLUMNS = ("item_id", "title", "description", "categories", "attributes")


class Items(NamedTuple):
    """The catalogue, in the order of the file."""

    frame: pl.DataFrame
    """line, and `COLUMNS`: item_id, title, description, categories (list), attributes (JSON)."""
    left_out: pl.DataFrame
    """line, reason."""
    num_rows: int
    ignored_columns: tuple[str, ...]
    """Columns whose names can be no attribute's."""


def read_items(path: Path) -> Items:
    """Read and clean an item file. Raises DataError when the file cannot be used at all."""
    raw = read_table(path, REQUIRED)
    names = [name for name in raw.frame.columns if name not in (ROW, LINE)]
    attributes = [n for n in names if n not in _RESERVED and _ATTRIBUTE.fullmatch(n)]
    texts = [as_text(raw.frame[name]).alias(name) for name in REQUIRED]
    description = (
        as_text(raw.frame["description"])
        if "description" in names
        else pl.repeat("", raw.frame.height, dtype=pl.String, eager=True)
    )
    frame = pl.DataFrame(
        [
            raw.frame[LINE].alias("line"),
            *texts,
            description.alias("description"),
            _categories(raw.frame).alias("categories"),
            _attributes(raw.frame, attributes).alias("attributes"),
        ]
    ).with_columns(reason=_reason())
    gone = pl.concat([raw.left_out, frame.drop_nulls("reason").select("line", "reason")])
    good = frame.filter(pl.col("reason").is_null())
    if good.height == 0:
        reasons = ", ".join(gone["reason"].unique().sort())
        raise DataError(f"{path} has no row that can be used: {reasons}")
    ignored = tuple(name for name in names if name not in _OWN and name not in attributes)
    return Items(good.select("line", *COLUMNS), gone.sort("line"), raw.num_rows, ignored)


def without_file(item_ids: pl.Series) -> pl.DataFrame:
    """Make rows for items that events name and the item file lacks: no title, no category."""
    return pl.DataFrame({"item_id": item_ids}).select(
        "item_id",
        title=pl.lit(""),
        description=pl.lit(""),
        categories=pl.lit([], dtype=pl.List(pl.String)),
        attributes=pl.lit("{}"),
    )


def _reason() -> pl.Expr:
    checks: list[tuple[pl.Expr, str]] = []
    for name in ("item_id", "title", "description"):
        checks.append((pl.col(name).is_null(), f"{name} is {NOT_UTF8}"))
        checks.append((pl.col(name).str.contains("\0", literal=True), f"{name} holds a NUL"))
    too_long = pl.col("item_id").str.len_bytes() > _MAX_ID_BYTES
    checks.append((pl.col("item_id").str.strip_chars() == "", "item_id is missing"))
    checks.append((too_long, f"item_id is longer than {_MAX_ID_BYTES} bytes"))
    checks.append((~pl.col("item_id").is_first_distinct(), SECOND))
    return pl.coalesce(pl.when(problem).then(pl.lit(text)) for problem, text in checks)


def _categories(frame: pl.DataFrame) -> pl.Series:
    """Split at `|`; blanks around names, empty names and repeats are dropped."""
    if "categories" not in frame.columns:
        return pl.repeat([], frame.height, dtype=pl.List(pl.String), eager=True)
    column = frame["categories"]
    if isinstance(column.dtype, pl.List) and not column.dtype.inner.is_nested():
        column = column.cast(pl.List(pl.String))
    else:
        column = as_text(column).str.split("|")
    name = pl.element().str.replace_all("\0", "", literal=True).str.strip_chars()
    cleaned = pl.DataFrame({"c": column}).select(
        pl.col("c")
        .list.eval(name.filter(name != ""))
        .list.unique(maintain_order=True)
        .fill_null(pl.lit([], dtype=pl.List(pl.String)))
    )
    return cleaned.to_series()


def _attributes(frame: pl.DataFrame, names: list[str]) -> pl.Series:
    """Write each row's attributes as a JSON object without those that it does not have."""
    if not names:
        return pl.repeat("{}", frame.height, dtype=pl.String, eager=True)
    typed = frame.select(_typed(frame[name]) for name in names)
    rows = (
        json.dumps({k: v for k, v in row.items() if _given(v)}, ensure_ascii=False)
        for row in typed.iter_rows(named=True)
    )
    return pl.Series(list(rows), dtype=pl.String)


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _typed(column: pl.Series) -> pl.Series:
    """Give a column one kind: a truth value, a number, a list of texts, or text.

    Text becomes numbers only when all of it is numbers that lose nothing (no "007").
    """
    if column.dtype == pl.Boolean or column.dtype.is_numeric():
        return column if column.dtype == pl.Boolean else column.cast(pl.Float64)
    if isinstance(column.dtype, pl.List) and not column.dtype.inner.is_nested():
        element = pl.element().str.replace_all("\0", "", literal=True).drop_nulls()
        texts = pl.DataFrame({"texts": column.cast(pl.List(pl.String))})
        return texts.select(pl.col("texts").list.eval(element).alias(column.name)).to_series()
    if column.dtype.is_nested():
        raise DataError(f"the attribute {column.name!r} is neither text, number, truth nor list")
    text = as_text(column).str.replace_all("\0", "", literal=True).str.strip_chars()
    text = text.replace("", None)
    given = text.drop_nulls()
    if given.str.to_lowercase().is_in(["true", "false"]).all():
        return text.str.to_lowercase() == "true"
    numbers = given.cast(pl.Float64, strict=False)
    if numbers.is_finite().fill_null(False).all() and not given.str.contains(_LEADING_ZERO).any():
        return text.cast(pl.Float64)
    return text
