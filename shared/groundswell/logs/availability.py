"""Reads from when until when the items of a file may be recommended."""

from typing import NamedTuple

import polars as pl

from groundswell.contract.events import EARLIEST_S, LATEST_S
from groundswell.logs.raw_table import RawTable
from groundswell.logs.times import in_one_unit, raw_times


class AvailabilityTimes(NamedTuple):
    """One column of times. [n] rows."""

    time_us: pl.Series
    """Microseconds since 1970; null where the file does not say."""
    problem: pl.Series
    """Why a time cannot be read, or null."""


def times_of_availability(raw: RawTable, name: str) -> AvailabilityTimes:
    """Read a column in any form of times that logs have; without the column nothing is limited.

    Raises DataError when it looks like the days of a spreadsheet.
    """
    if name not in raw.names:
        nothing = pl.repeat(None, raw.frame.height, eager=True)
        return AvailabilityTimes(nothing.cast(pl.Int64), nothing.cast(pl.String))
    read = raw_times(raw.frame[name])
    times = in_one_unit(read)
    frame = pl.DataFrame({"us": times.time_us, "text": read.text, "problem": times.problem})
    low, high = round(EARLIEST_S * 1e6), round(LATEST_S * 1e6)
    is_given = pl.col("text").fill_null("") != ""
    found = frame.select(
        "us",
        problem=pl.coalesce(
            pl.format(f"{name}: {{}}", "problem"),
            pl.when(is_given & pl.col("us").is_null()).then(pl.lit(f"{name} is no time")),
            pl.when(~pl.col("us").is_between(low, high, closed="left")).then(
                pl.lit(f"{name} is not between the years 1900 and 2200")
            ),
        ),
    )
    return AvailabilityTimes(found["us"], found["problem"])


def availability_problem(start: AvailabilityTimes, end: AvailabilityTimes) -> pl.Series:
    """[n] what is wrong with the times of each row, or null."""
    return pl.select(
        pl.coalesce(
            pl.lit(start.problem),
            pl.lit(end.problem),
            pl.when(pl.lit(end.time_us) <= pl.lit(start.time_us)).then(
                pl.lit("available_until is not after available_from")
            ),
        )
    ).to_series()
