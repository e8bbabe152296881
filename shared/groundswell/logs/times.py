"""Times in many forms → microseconds since 1970; the size of the numbers gives their unit."""

import math
import re
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl

from groundswell.contract.events import EARLIEST_S, LATEST_S
from groundswell.logs.errors import DataError
from groundswell.logs.texts import as_text

BAD_TIME = "timestamp is neither a number nor ISO-8601"
TIME_RANGE = "timestamp is not between the years 1900 and 2200"
OTHER_UNIT = "timestamp is in "
"""The start of the reason for a number in another unit than most of its column."""
FORMS = "seconds, milliseconds, microseconds or nanoseconds since 1970, YYYYMMDD, or ISO-8601"

SECONDS = "seconds"
_PER_SECOND = {SECONDS: 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_DATES, _DATE_TIMES = "dates as YYYYMMDD", "times as YYYYMMDDHHMMSS"
_SMALL_KIND, _SMALL = "small numbers", 1e8
"""Numbers below it fit every unit: as seconds they lie before 1973, like those that are no time."""
_UPPER = ((SECONDS, 1e11), ("milliseconds", 1e14), ("microseconds", 1e17), ("nanoseconds", 1e20))
"""The unit of a number is the first whose bound is above it: the bounds lie in 5138 as the unit
itself, and in 1973 as the next one."""
_SPREADSHEET_DAYS = (20_000, 80_000)
_UTC_NAME = re.compile(r"\s*(?:UTC|GMT|Z)$", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RawTimes(NamedTuple):
    """A column of times before its unit is known. [n] rows."""

    number: pl.Series
    """Finite numbers (float); null for all else."""
    exact: pl.Series
    """The same where it is an integer (int64)."""
    time_us: pl.Series
    """Microseconds since 1970 of ISO-8601 texts, dates and timestamps; null for all else."""
    text: pl.Series
    """The text, for messages."""

    @property
    def seconds(self) -> pl.Series:
        """Numbers unchanged, and other times as seconds since 1970."""
        table = pl.DataFrame({"number": self.number, "us": self.time_us})
        return table.select(pl.coalesce("number", pl.col("us") / 1e6)).to_series()


class Times(NamedTuple):
    """Times in one unit. [n] rows."""

    seconds: pl.Series
    """Since 1970; null where it cannot be read."""
    time_us: pl.Series
    """Since 1970; null too for a number that is too large for a time."""
    problem: pl.Series
    """Why a number is left out: it is in another unit than most numbers; or null."""
    unit: str
    """The unit of the numbers."""


def raw_times(column: pl.Series) -> RawTimes:
    """Read a column of numbers, texts, dates or timestamps; those without a zone are in UTC."""
    text = as_text(column).str.strip_chars()
    nothing = pl.repeat(None, len(column), dtype=pl.Int64, eager=True)
    if column.dtype.is_temporal():
        return RawTimes(nothing.cast(pl.Float64), nothing, _temporal_us(column), text)
    if column.dtype.is_numeric():
        number = column.cast(pl.Float64)
        exact = column.cast(pl.Int64, strict=False) if not column.dtype.is_float() else nothing
        iso = nothing
    else:
        number = text.cast(pl.Float64, strict=False)
        exact = text.cast(pl.Int64, strict=False)
        others = text.filter(number.is_null()).unique().drop_nulls().to_list()
        iso = text.replace_strict(
            others, [iso_us(x) for x in others], default=None, return_dtype=pl.Int64
        )
    number = number.set(~number.is_finite().fill_null(True), None)
    return RawTimes(number, exact, iso, text)


def as_seconds(raw: RawTimes) -> Times:
    """Read every number as seconds, whatever its size: for positions."""
    table = pl.DataFrame({"number": raw.number, "exact": raw.exact, "us": raw.time_us})
    us = pl.coalesce("us", _scaled(SECONDS))
    nothing = pl.lit(None, dtype=pl.String)
    frame = table.select(seconds=raw.seconds, us=us, problem=nothing)
    return Times(frame["seconds"], frame["us"], frame["problem"], SECONDS)


def in_one_unit(raw: RawTimes) -> Times:
    """Find the unit of a column's numbers by their size, and read them in it.

    The unit is that of most numbers, seconds where two are as frequent. A number of another unit
    has a `problem`. Raises DataError when all numbers look like the days of a spreadsheet.
    """
    table = pl.DataFrame({"number": raw.number, "exact": raw.exact, "us": raw.time_us})
    table = table.with_columns(_date_us(table)).with_columns(kind=_kind())
    unit = _most_frequent(table)
    _refuse_spreadsheet_days(table, raw)
    dated = table.select(pl.col("date_us").is_not_null() & pl.lit(unit in (_DATES, _DATE_TIMES)))
    fits = (pl.col("kind") == unit) | ((pl.col("kind") == _SMALL_KIND) & (unit in _PER_SECOND))
    other = pl.format(f"{OTHER_UNIT}{{}}, those of most rows in {unit}", "kind")
    number_us = (
        pl.when("dated")
        .then("date_us")
        .otherwise(_scaled(unit if unit in _PER_SECOND else SECONDS))
    )
    frame = table.with_columns(dated=dated.to_series()).select(
        us=pl.coalesce("us", number_us),
        seconds=pl.coalesce(
            pl.col("us") / 1e6,
            pl.when("dated")
            .then(pl.col("date_us") / 1e6)
            .otherwise(pl.col("number") / _PER_SECOND.get(unit, 1)),
        ),
        problem=pl.when(pl.col("number").is_not_null() & ~fits & ~pl.col("dated")).then(other),
    )
    return Times(frame["seconds"], frame["us"], frame["problem"], unit)


def parse_time(text: str) -> float:
    """Read one time, as the columns of a log are read; return seconds since 1970.

    Raises ValueError, naming the text, when it is none or not between 1900 and 2200.
    """
    try:
        times = in_one_unit(raw_times(pl.Series([text], dtype=pl.String)))
    except DataError:
        times = as_seconds(raw_times(pl.Series([text], dtype=pl.String)))
    seconds = times.seconds.item()
    if seconds is None or not math.isfinite(seconds):
        raise ValueError(f"{text!r} is not a time: write {FORMS}")
    if not EARLIEST_S <= seconds < LATEST_S:
        raise ValueError(f"{text!r} is not between the years 1900 and 2200")
    return float(seconds)


def iso_us(text: str) -> int | None:
    """Microseconds since 1970 of an ISO-8601 text, or one that ends in UTC; None for another."""
    try:
        time = datetime.fromisoformat(_UTC_NAME.sub("+00:00", text.strip()))
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _kind() -> pl.Expr:
    """What each number looks like alone: a unit, a date, or too small to decide."""
    size = pl.col("number").abs()
    dated = pl.col("date_us").is_not_null()
    kinds = [(dated & (size < _SMALL), _DATES), (dated, _DATE_TIMES), (size < _SMALL, _SMALL_KIND)]
    kinds += [(size < upper, name) for name, upper in _UPPER]
    kinds.append((size.is_not_null(), "numbers that are too large"))
    return pl.coalesce(pl.when(fits).then(pl.lit(name)) for fits, name in kinds)


def _date_us(table: pl.DataFrame) -> pl.Series:
    """Read numbers such as 20231127 and 20231127221320 as dates and times; null for others."""
    whole = table["number"].cast(pl.Int64, strict=False)
    whole = whole.set((whole != table["number"]).fill_null(True), None)
    text = whole.cast(pl.String)
    date = text.str.to_datetime("%Y%m%d", time_unit="us", strict=False, exact=True)
    time = text.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False, exact=True)
    length = text.str.len_chars()
    frame = pl.DataFrame({"date": date, "time": time, "length": length}).select(
        us=pl.when(length == 8).then("date").when(length == 14).then("time")
    )
    dated = frame["us"].dt.year().is_between(1900, 2199).fill_null(False)
    return frame["us"].cast(pl.Int64).set(~dated, None).alias("date_us")


def _most_frequent(table: pl.DataFrame) -> str:
    known = table.filter(pl.col("kind") != _SMALL_KIND)["kind"].drop_nulls()
    if len(known) == 0:
        return SECONDS
    counts = known.value_counts().with_columns(seconds=pl.col("kind") == SECONDS)
    best = counts.sort("count", "seconds", "kind", descending=[True, True, False])["kind"][0]
    small = int((table["kind"] == _SMALL_KIND).sum())
    # Dates among many small numbers are numbers that happen to look like dates.
    return SECONDS if best == _DATES and small >= len(known) else str(best)


def _refuse_spreadsheet_days(table: pl.DataFrame, raw: RawTimes) -> None:
    numbers = table["number"].drop_nulls()
    low, high = _SPREADSHEET_DAYS
    if (
        len(numbers)
        and numbers.is_between(low, high).all()
        and table["us"].null_count() == len(table)
    ):
        example = raw.text.filter(table["number"].is_not_null())[0]
        raise DataError(
            f"the timestamps, such as {example}, look like the days of a spreadsheet: write them "
            "as ISO-8601"
        )


def _scaled(unit: str) -> pl.Expr:
    """Convert `exact`, or else `number`, from a unit to microseconds, if an int64 can hold it."""
    per_second = _PER_SECOND[unit]
    rounded = (pl.col("number") / per_second * 1e6).round().cast(pl.Int64, strict=False)
    if per_second <= 10**6:
        factor = 10**6 // per_second
        holds = pl.col("exact").abs() <= 2**62 // factor
        return pl.coalesce(pl.when(holds).then(pl.col("exact") * factor), rounded)
    return pl.coalesce(pl.col("exact") // (per_second // 10**6), rounded)


def _temporal_us(column: pl.Series) -> pl.Series:
    """Read dates and timestamps of any unit and zone."""
    if column.dtype == pl.Date:
        return column.cast(pl.Int32).cast(pl.Int64) * 86_400_000_000
    unit = getattr(column.dtype, "time_unit", "us")
    raw = column.cast(pl.Int64)
    if unit == "ms":
        return raw.set((raw.abs() > 2**52).fill_null(False), None) * 1_000
    return raw // 1_000 if unit == "ns" else raw
