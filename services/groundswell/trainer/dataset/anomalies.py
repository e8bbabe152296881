"""Finds the events and items that look wrong: repeats, impossible times, machines, no text."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.logs.events import Events
from groundswell.logs.items import Items

_EARLIEST_US = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""No log of behaviour is older; times of clocks that were never set are."""
_MINUTE_US, _HOUR_US = 60_000_000, 3_600_000_000
_DEVIATIONS = 5.0
_NORMAL_MAD = 1.4826
"""Times the median absolute deviation: the standard deviation of a normal distribution."""
_MIN_PER_HOUR, _MIN_PER_MINUTE = 360, 60
"""Nobody is called a machine who acts at most every ten seconds, or once a second for a minute."""

REPEATED_ID = "its user gave the event_id before"
REPEATED = "says the same as an earlier row"
FUTURE = "its time lies in the future"
TOO_EARLY = "its time lies before 1990"
MACHINE = "its user acts faster than people do"
ITEM_WITHOUT_TEXT = "its item has no text"
NO_TEXT = "the item has no title, categories or description"


class Anomalies(NamedTuple):
    """What looks wrong in E clean events and N rows of the item file; null where nothing does."""

    duplicates: pl.Series
    """[E] the reason, or null."""
    impossible_times: pl.Series
    """[E] the reason, or null; all null in a log whose times are only positions."""
    bots: pl.Series
    """[E] the reason, or null; likewise."""
    without_text: pl.Series
    """[E] the reason, or null."""
    items_without_text: pl.Series
    """[N] the reason, or null."""
    found: dict[str, Any]
    """How many of each, for the report; of users only their number."""


def find_anomalies(log: Events, catalogue: Items) -> Anomalies:
    """Look at a clean log and its catalogue; nothing is changed.

    A duplicate repeats an event_id of its user, of which a service takes one, or says the same as
    an earlier row: user, item, action, time, value and session. A time is impossible in the future
    and before 1990. A machine is a user whose events per active hour, or in the busiest minute, lie
    more than 5 robust standard deviations (of the logarithm, over all users: the median and the
    median absolute deviation) above the median, and above one event each ten seconds, or sixty in
    that minute.
    """
    frame = log.frame
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    duplicates = _duplicates(frame, with_times=not log.order_only)
    times = nothing if log.order_only else _impossible_times(frame)
    bots, rates = (nothing, {}) if log.order_only else _bots(frame)
    items = _items_without_text(catalogue.frame)
    with_text = catalogue.frame.filter(items.is_null())["item_id"]
    mute = _reason(~frame["item_id"].is_in(with_text.implode()), ITEM_WITHOUT_TEXT)
    machines = frame.filter(bots.is_not_null())["user_id"].n_unique()
    found = {
        "duplicates": _counts(duplicates, {"event_ids": REPEATED_ID, "rows": REPEATED}),
        "impossible_times": _counts(times, {"future": FUTURE, "before_1990": TOO_EARLY}),
        "bots": {"users": machines, **_counts(bots, {"events": MACHINE}), **rates},
        "without_text": {
            **_counts(items, {"items": NO_TEXT}),
            **_counts(mute, {"events": ITEM_WITHOUT_TEXT}),
        },
    }
    return Anomalies(duplicates, times, bots, mute, items, found)


def _reason(wrong: pl.Series, reason: str) -> pl.Series:
    return pl.DataFrame({"wrong": wrong}).select(pl.when("wrong").then(pl.lit(reason))).to_series()


def _counts(reasons: pl.Series, names: dict[str, str]) -> dict[str, int]:
    return {name: int((reasons == reason).sum()) for name, reason in names.items()}


def _duplicates(frame: pl.DataFrame, *, with_times: bool) -> pl.Series:
    same_id = ~pl.struct("user_id", "event_id").is_first_distinct()
    fields = ("user_id", "item_id", "action", "time_us", "value", "session_id")
    same = ~pl.struct(fields).is_first_distinct() & with_times
    reason = pl.when(same_id).then(pl.lit(REPEATED_ID)).when(same).then(pl.lit(REPEATED))
    return frame.select(reason.otherwise(None)).to_series()


def _impossible_times(frame: pl.DataFrame) -> pl.Series:
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    future, early = pl.col("time_us") > now_us, pl.col("time_us") < _EARLIEST_US
    reason = pl.when(future).then(pl.lit(FUTURE)).when(early).then(pl.lit(TOO_EARLY))
    return frame.select(reason.otherwise(None)).to_series()


def _bots(frame: pl.DataFrame) -> tuple[pl.Series, dict[str, float]]:
    """Return the reason of each event, and the rates beyond which a user looks like a machine."""
    minute = pl.col("time_us") // _MINUTE_US
    minutes = frame.group_by("user_id", minute.alias("minute")).len()
    users = minutes.group_by("user_id").agg(
        per_hour=pl.col("len").sum() / (pl.col("minute") // (_HOUR_US // _MINUTE_US)).n_unique(),
        in_a_minute=pl.col("len").max(),
    )
    most = {
        "per_hour": _usual_most(users["per_hour"].to_numpy(), _MIN_PER_HOUR),
        "in_a_minute": _usual_most(users["in_a_minute"].to_numpy(), _MIN_PER_MINUTE),
    }
    machines = users.filter(pl.any_horizontal(pl.col(name) > most[name] for name in most))
    is_machine = frame["user_id"].is_in(machines["user_id"].implode())
    return _reason(is_machine, MACHINE), {f"most_{name}": rate for name, rate in most.items()}


def _usual_most(rates: NDArray[np.float64], least: float) -> float:
    """Return the highest rate that is still like the others, of [U] rates above 0."""
    logs = np.log(rates)
    middle = np.median(logs)
    deviation = _NORMAL_MAD * np.median(np.abs(logs - middle))
    return max(least, float(np.exp(middle + _DEVIATIONS * deviation)))


def _items_without_text(items: pl.DataFrame) -> pl.Series:
    blank = [pl.col(name).str.strip_chars() == "" for name in ("title", "description")]
    wordless = items.select(pl.all_horizontal(*blank, pl.col("categories").list.len() == 0))
    return _reason(wordless.to_series(), NO_TEXT)
