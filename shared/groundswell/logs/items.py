"""An item file → a table of items: titles, categories and typed attributes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from groundswell.contract.events import MAX_ID_BYTES
from groundswell.contract.items import (
    MAX_ATTRIBUTES,
    MAX_CATEGORIES,
    MAX_CATEGORY_BYTES,
    MAX_DESCRIPTION_BYTES,
    MAX_TITLE_BYTES,
    RESERVED_NAMES,
)
from groundswell.logs.attributes import (
    LIST_SEPARATOR,
    Attribute,
    attribute_names,
    lists_and_problem,
    read_attribute,
    read_flags,
)
from groundswell.logs.availability import availability_problem, times_of_availability
from groundswell.logs.errors import DataError
from groundswell.logs.item_sizes import TOO_LARGE, too_large
from groundswell.logs.raw_table import LINE, RawTable
from groundswell.logs.tables import read_table
from groundswell.logs.texts import (
    INEXACT,
    NO_VALUE,
    NOT_UTF8,
    Ids,
    as_ids,
    as_text,
    as_texts,
    has_text,
)

REQUIRED = ("item_id", "title")
SECOND = "item_id was given before"

COLUMNS = ("item_id", "title", "description", "categories", "attributes", "available")
TIMES = ("available_from", "available_until")

_TEXT_BYTES = {
    "item_id": MAX_ID_BYTES,
    "title": MAX_TITLE_BYTES,
    "description": MAX_DESCRIPTION_BYTES,
}
_OTHER_SEPARATORS = r"[,;>/]|^\[.*\]$"
"""Other characters that files have between the categories of an item."""


class Items(NamedTuple):
    """The catalogue, in the order of the file."""

    frame: pl.DataFrame
    """line, and `COLUMNS`: item_id, title, description, categories (list), attributes (JSON),
    available (null where the file does not say); and `TIMES`, in microseconds since 1970."""
    left_out: pl.DataFrame
    """line, reason. Items beyond the limits of the services are left out too."""
    num_rows: int
    ignored_columns: tuple[str, ...]
    """Columns that cannot be attributes, each with the reason."""
    attribute_kinds: dict[str, str]
    """What each attribute is: number, flag, text or texts."""
    notes: tuple[str, ...]
    """How the file was read and what was changed, in sentences for the user."""


def read_items(
    path: Path,
    *,
    separator: str | None = None,
    kinds: Mapping[str, str] | None = None,
    catalogue_kinds: Mapping[str, str] | None = None,
) -> Items:
    """Read and clean an item file. Raises DataError when the file cannot be used at all.

    An attribute's kind is the one in `kinds`, else in `catalogue_kinds`, else it follows from the
    whole column: text is a number only if writing every number gives the same text. Raises
    DataError for a name in `kinds` that the file does not have.
    """
    raw = read_table(path, REQUIRED, separator=separator)
    _check_types(path, raw)
    attributes, refused, notes = _attributes(path, raw, kinds or {}, catalogue_kinds or {})
    ids = as_ids(raw.frame["item_id"])
    notes += ids.notes("item_id") + _categories_note(raw)
    frame = _columns(raw, ids, attributes).with_columns(reason=_reason())
    large = frame["reason"].is_null() & too_large(frame)
    frame = frame.with_columns(reason=frame["reason"].set(large, TOO_LARGE))
    frame = frame.with_columns(reason=_first_or_second())
    gone = pl.concat([raw.left_out, frame.drop_nulls("reason").select("line", "reason")])
    good = frame.filter(pl.col("reason").is_null())
    if good.height == 0:
        reasons = "; ".join(gone["reason"].unique().sort())
        raise DataError(f"{path} has no row that can be used: {reasons}{raw.how_read}")
    return Items(
        good.select("line", *COLUMNS, *TIMES),
        gone.sort("line"),
        raw.num_rows,
        tuple(f"{name!r} ({why})" for name, why in refused.items()),
        {attribute.name: attribute.kind for attribute in attributes},
        (*raw.notes, *notes),
    )


def without_file(item_ids: pl.Series) -> pl.DataFrame:
    """Rows for items that are in events but not in the item file: no title, no category."""
    return pl.DataFrame({"item_id": item_ids}).select(
        "item_id",
        title=pl.lit(""),
        description=pl.lit(""),
        categories=pl.lit([], dtype=pl.List(pl.String)),
        attributes=pl.lit("{}"),
        available=pl.lit(None, dtype=pl.Boolean),
    )


def _check_types(path: Path, raw: RawTable) -> None:
    """Refuse Parquet columns of an impossible type."""
    for name in sorted(RESERVED_NAMES.intersection(raw.names)):
        kind = raw.frame[name].dtype
        if not has_text(kind) and not (name == "categories" and _is_flat_list(kind)):
            raise DataError(f"the column {name!r} of {path} cannot be used: it holds {kind}")


def _columns(raw: RawTable, ids: Ids, attributes: list[Attribute]) -> pl.DataFrame:
    """The `COLUMNS` of each row, and what is wrong with each of them."""
    categories, categories_problem = _categories(raw)
    available, available_problem = read_flags(_text(raw, "available"))
    start, end = (times_of_availability(raw, name) for name in TIMES)
    return pl.DataFrame(
        [
            raw.frame[LINE].alias("line"),
            ids.text.alias("item_id"),
            _text(raw, "title").alias("title"),
            _text(raw, "description").alias("description"),
            categories.alias("categories"),
            _as_json(raw, attributes).alias("attributes"),
            available.alias("available"),
            ids.problem.alias("problem"),
            _prefixed("categories", categories_problem),
            _prefixed("available", available_problem),
            *(one.time_us.alias(name) for one, name in zip((start, end), TIMES, strict=True)),
            availability_problem(start, end).alias("times_problem"),
            _text(raw, "available").is_null().alias("available_broken"),
            _attributes_problem(raw, attributes),
        ]
    )


def _text(raw: RawTable, name: str) -> pl.Series:
    if name not in raw.names:
        return pl.repeat("", raw.frame.height, dtype=pl.String, eager=True)
    return as_text(raw.frame[name])


def _attributes(
    path: Path, raw: RawTable, kinds: Mapping[str, str], catalogue_kinds: Mapping[str, str]
) -> tuple[list[Attribute], dict[str, str], list[str]]:
    """Read every column that is not a field of an item; list what was ignored or renamed."""
    names, refused = attribute_names([n for n in raw.names if n not in RESERVED_NAMES.union(TIMES)])
    unknown = [name for name in kinds if name not in names.values()]
    if unknown:
        found = ", ".join(names.values()) or "none"
        raise DataError(f"{path} has no attribute {unknown[0]!r}; its attributes are {found}")
    attributes, notes = [], []
    for column, name in names.items():
        values = raw.frame[column]
        kind = values.dtype
        if not has_text(kind) and not _is_flat_list(kind):
            refused[column] = f"it holds {kind}"
            continue
        if name != column:
            notes.append(f"the column {column!r} is the attribute {name}")
        attribute = read_attribute(name, values, kinds.get(name) or catalogue_kinds.get(name))
        if attribute.why:
            notes.append(f"the attribute {name} is text: {attribute.why}")
        attributes.append(attribute)
    return attributes, refused, notes


def _is_flat_list(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.List) and has_text(pl.Series(dtype=kind.inner).dtype)


def _reason() -> pl.Expr:
    """The first reason to leave an item out; null for a good one."""
    checks: list[tuple[pl.Expr, str]] = []
    for name, limit in _TEXT_BYTES.items():
        column = pl.col(name)
        checks.append((column.is_null(), f"{name} is {NOT_UTF8}"))
        checks.append((column.str.contains("\0", literal=True), f"{name} holds a NUL"))
        checks.append((column.str.len_bytes() > limit, f"{name} is longer than {limit:,} bytes"))
    checks.append((pl.col("item_id") == "", "item_id is missing"))
    checks += [(pl.col("problem") == known, f"item_id is {known}") for known in (NO_VALUE, INEXACT)]
    checks.append((pl.col("available_broken"), f"available is {NOT_UTF8}"))
    found: list[pl.Expr] = [pl.when(problem).then(pl.lit(text)) for problem, text in checks]
    others = ("categories", "attributes", "available", "times")
    return pl.coalesce(*found, *(f"{name}_problem" for name in others))


def _first_or_second() -> pl.Expr:
    """Leave out repeated ids: the first good item with an id counts."""
    good = pl.col("reason").is_null()
    second = good & ~pl.struct("item_id", good).is_first_distinct()
    return pl.coalesce("reason", pl.when(second).then(pl.lit(SECOND)))


def _categories(raw: RawTable) -> tuple[pl.Series, pl.Series]:
    """Split at `|`; blanks around names, empty names and repeats are dropped."""
    if "categories" not in raw.names:
        nothing = pl.repeat(None, raw.frame.height, dtype=pl.String, eager=True)
        return pl.repeat([], raw.frame.height, dtype=pl.List(pl.String), eager=True), nothing
    column = raw.frame["categories"]
    if _is_flat_list(column.dtype):
        lists = as_texts(column)
        broken = lists.is_null() & False
    else:
        text = as_text(column)
        lists, broken = text.str.split(LIST_SEPARATOR), text.is_null()
    name = pl.element().str.strip_chars()
    cleaned = pl.DataFrame({"c": lists}).select(
        pl.col("c")
        .list.eval(name.filter(name != ""))
        .list.unique(maintain_order=True)
        .fill_null(pl.lit([], dtype=pl.List(pl.String)))
    )
    no_text = pl.DataFrame({"b": broken}).select(pl.when("b").then(pl.lit(NOT_UTF8)))
    return lists_and_problem(
        cleaned.to_series(), MAX_CATEGORIES, MAX_CATEGORY_BYTES, no_text.to_series()
    )


def _categories_note(raw: RawTable) -> list[str]:
    """A note when most values look like several categories and none has the separator."""
    if "categories" not in raw.names or _is_flat_list(raw.frame["categories"].dtype):
        return []
    given = as_text(raw.frame["categories"]).drop_nulls()
    given = given.filter(given.str.strip_chars() != "")
    several = given.filter(given.str.contains(_OTHER_SEPARATORS))
    if given.str.contains(LIST_SEPARATOR, literal=True).any() or 2 * len(several) <= len(given):
        return []
    return [
        f"categories are separated by {LIST_SEPARATOR}, but no value has one: {several[0]!a} is "
        "one category"
    ]


def _prefixed(name: str, problem: pl.Series) -> pl.Series:
    return pl.select(
        pl.format(f"{name}: {{}}", pl.lit(problem)).alias(f"{name}_problem")
    ).to_series()


def _attributes_problem(raw: RawTable, attributes: list[Attribute]) -> pl.Series:
    """By row, the attribute that cannot be used, or that there are too many."""
    nothing = pl.repeat(None, raw.frame.height, dtype=pl.String, eager=True)
    problems = [_prefixed(f"attribute {a.name}", a.problem) for a in attributes]
    if len(attributes) > MAX_ATTRIBUTES:
        given = pl.DataFrame([a.values.is_not_null().alias(a.name) for a in attributes])
        too_many = given.sum_horizontal() > MAX_ATTRIBUTES
        problems.append(nothing.set(too_many, f"more than {MAX_ATTRIBUTES} attributes"))
    return pl.select(
        pl.coalesce(*(pl.lit(p) for p in problems), pl.lit(nothing)).alias("attributes_problem")
    ).to_series()


def _as_json(raw: RawTable, attributes: list[Attribute]) -> pl.Series:
    """Each row's attributes as a JSON object, without missing ones."""
    if not attributes:
        return pl.repeat("{}", raw.frame.height, dtype=pl.String, eager=True)
    typed = pl.DataFrame([attribute.values.alias(attribute.name) for attribute in attributes])
    rows = (
        json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False)
        for row in typed.iter_rows(named=True)
    )
    return pl.Series(list(rows), dtype=pl.String)
