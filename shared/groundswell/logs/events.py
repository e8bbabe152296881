"""Events as they were read → typed events, and why each row that cannot be used is left out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from groundswell.features.actions import ACTIONS
from groundswell.logs.errors import DataError
from groundswell.logs.tables import LINE, ROW, read_table

REQUIRED = ("user_id", "item_id", "action", "timestamp")
_VALUE_COLUMNS = ("value", "rating", "rate")
_OPTIONAL = ("session_id", "event_id")
_MAX_BYTES = {"user_id": 256, "item_id": 256, "session_id": 128, "event_id": 128}
"""The contract's limits: an event beyond them could never be imported."""
_EARLIEST_S = datetime(1900, 1, 1, tzinfo=UTC).timestamp()
_LATEST_S = datetime(2200, 1, 1, tzinfo=UTC).timestamp()

BAD_TIME = "timestamp is neither epoch seconds nor ISO-8601"
TIME_RANGE = "timestamp is not between the years 1900 and 2200"
MILLISECONDS_HINT = "; are the times milliseconds? Seconds are due"
BAD_ACTION = "action is unknown"
BAD_VALUE = "value is not a finite number"
NOT_UTF8 = "not UTF-8"


class Events(NamedTuple):
    """Clean events in the order of the input."""

    frame: pl.DataFrame
    """line, user_id, item_id, action (number), seconds (float), time_us, ordinal (row of the
    input), value (null for none), session_id (empty for none), event_id."""
    order_only: bool
    left_out: pl.DataFrame
    """line, reason."""
    num_rows: int
    ignored_columns: tuple[str, ...]
    unknown_actions: tuple[str, ...]
    """The most frequent ones first, at most five."""
    num_imputed_times: int


def read_events(
    path: Path, *, force_order_only: bool = False, impute_times: bool = False
) -> Events:
    """Read and clean an event log. Raises DataError when the file cannot be used at all.

    What is missing: a value stays missing; a session is then found by the times; an event_id
    becomes the row's number; a row without a time is left out, since a guess could move it from one
    set of a split to another. With `impute_times` it happens with its user's row before it in the
    file, or else with the one after it: right for a file in the order of time. A time that is there
    and cannot be read is never replaced.
    """
    raw = read_table(path, REQUIRED)
    value = next((name for name in _VALUE_COLUMNS if name in raw.frame.columns), None)
    known = {ROW, LINE, *REQUIRED, *_OPTIONAL, value}
    _check_kinds(path, raw.frame, value)
    frame = _typed(raw.frame, value)
    order_only = force_order_only or is_order_only(frame)
    if impute_times:
        frame = _with_imputed_times(frame)
    frame = frame.with_columns(reason=_reason(check_range=not order_only))
    good = frame.filter(pl.col("reason").is_null())
    gone = pl.concat([raw.left_out, frame.drop_nulls("reason").select("line", "reason")])
    if good.height == 0:
        raise DataError(_nothing_left(path, gone))
    return Events(
        frame=_finished(good),
        order_only=order_only,
        left_out=gone.sort("line"),
        num_rows=raw.num_rows,
        ignored_columns=tuple(name for name in raw.frame.columns if name not in known),
        unknown_actions=_unknown_actions(frame),
        num_imputed_times=int((~good["time_given"]).sum()),
    )


def _check_kinds(path: Path, frame: pl.DataFrame, value: str | None) -> None:
    """Refuse columns of Parquet whose type can never be what is due; text is judged by the row."""
    for name in (*REQUIRED, *_OPTIONAL, value):
        if name is None or name not in frame.columns:
            continue
        kind = frame[name].dtype
        no_time = name == "timestamp" and kind in (pl.Time, pl.Duration, pl.Boolean)
        no_number = name == value and kind.is_temporal()
        if kind.is_nested() or no_time or no_number:
            raise DataError(f"the column {name!r} of {path} cannot be used: it holds {kind}")


def _nothing_left(path: Path, gone: pl.DataFrame) -> str:
    reasons = gone["reason"].unique().sort().to_list()
    message = f"{path} has no row that can be used: {', '.join(reasons)}"
    return message + MILLISECONDS_HINT if TIME_RANGE in reasons else message


def is_order_only(frame: pl.DataFrame) -> bool:
    """Say whether every user's times are nothing but positions: 0, 1, 2 … without a repeat.

    Rows whose time cannot be read may leave gaps, never more than there are such rows.
    """
    users = frame.filter(pl.col("user_id") != "").group_by("user_id")
    seconds = pl.col("seconds")
    positions = (
        (seconds.is_null() | (seconds == seconds.floor())).all()
        & (seconds.min() >= 0)
        & (seconds.max() < pl.len())
        & (seconds.drop_nulls().n_unique() == seconds.count())
    )
    return bool(users.agg(ok=positions)["ok"].all())


def as_text(column: pl.Series) -> pl.Series:
    """Write a column as text: empty where nothing stands, whole floats without their fraction."""
    if column.dtype == pl.String:
        return column
    if column.dtype.is_nested():
        raise DataError(
            f"the column {column.name!r} cannot be read as text: it holds {column.dtype}"
        )
    if column.dtype.is_float() and (column.drop_nulls() == column.drop_nulls().floor()).all():
        column = column.cast(pl.Int64, strict=False)
    try:
        return column.cast(pl.String).fill_null("")
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(f"the column {column.name!r} cannot be read as text: {error}") from error


def _typed(raw: pl.DataFrame, value: str | None) -> pl.DataFrame:
    texts = {name: _text_column(raw, name) for name in ("user_id", "item_id", *_OPTIONAL)}
    action = as_text(raw["action"]).str.strip_chars().str.to_lowercase()
    numbers = {name: number for number, name in enumerate(ACTIONS, start=1)}
    times = _times(raw["timestamp"])
    return pl.DataFrame(
        {
            "ordinal": raw[ROW],
            "line": raw[LINE],
            **texts,
            "action_name": action,
            "action": action.replace_strict(numbers, default=None, return_dtype=pl.Int8),
            "time_given": _given(raw["timestamp"]),
            **times,
            **_values(raw, value),
        }
    )


def _given(column: pl.Series) -> pl.Series:
    """Say where something stands, readable or not; True where a text is not UTF-8."""
    if column.dtype == pl.String:
        return (column.str.strip_chars() != "").fill_null(True)
    return column.is_not_null()


def _with_imputed_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each row without a time that of its user's nearest row above, or else below."""
    times = ("seconds", "time_us")
    near = [pl.col(name).forward_fill().backward_fill().over("user_id") for name in times]
    missing = frame.select(pl.col("seconds").is_null() & ~pl.col("time_given")).to_series()
    return frame.with_columns(
        pl.when(missing).then(column).otherwise(pl.col(name))
        for name, column in zip(times, near, strict=True)
    )


def _text_column(raw: pl.DataFrame, name: str) -> pl.Series:
    if name not in raw.columns:
        return pl.repeat("", raw.height, dtype=pl.String, eager=True)
    return as_text(raw[name])


def _values(raw: pl.DataFrame, name: str | None) -> dict[str, pl.Series]:
    """Read the value column: `value` (null for none) and `value_given`."""
    if name is None:
        nothing = pl.repeat(None, raw.height, dtype=pl.Float64, eager=True)
        return {"value": nothing, "value_given": nothing.is_not_null()}
    column = raw[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars().replace("", None)
    return {"value": column.cast(pl.Float64, strict=False), "value_given": column.is_not_null()}


def _times(column: pl.Series) -> dict[str, pl.Series]:
    """Read times as `seconds` since 1970 and as `time_us`; null where they cannot be read.

    `time_us` is null too where it lies far outside of what an int64 holds.
    """
    if column.dtype.is_temporal():
        us = column.cast(pl.Datetime("us")).cast(pl.Int64)
        return {"seconds": us / 1e6, "time_us": us}
    if column.dtype.is_numeric():
        iso = pl.repeat(None, len(column), dtype=pl.Int64, eager=True)
        seconds = column.cast(pl.Float64)
    else:
        text = as_text(column).str.strip_chars()
        seconds = text.cast(pl.Float64, strict=False)
        others = text.filter(seconds.is_null()).unique().drop_nulls().to_list()
        iso = text.replace_strict(
            others, [_iso_us(x) for x in others], default=None, return_dtype=pl.Int64
        )
    table = pl.DataFrame({"seconds": seconds, "iso": iso}).select(
        seconds=pl.when(pl.col("seconds").is_finite()).then("seconds"), iso="iso"
    )
    epoch = (pl.col("seconds") * 1e6).round().cast(pl.Int64, strict=False)
    table = table.select(
        seconds=pl.coalesce("seconds", pl.col("iso") / 1e6), time_us=pl.coalesce("iso", epoch)
    )
    return table.to_dict()


def _iso_us(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _reason(*, check_range: bool) -> pl.Expr:
    """Give the first reason to leave a row out; null for a good row."""
    checks: list[tuple[pl.Expr, str]] = []
    for name, limit in _MAX_BYTES.items():
        column = pl.col(name)
        checks.append((column.is_null(), f"{name} is {NOT_UTF8}"))
        if name in REQUIRED:
            checks.append((column.str.strip_chars() == "", f"{name} is missing"))
        checks.append((column.str.contains("\0", literal=True), f"{name} holds a NUL"))
        checks.append((column.str.len_bytes() > limit, f"{name} is longer than {limit} bytes"))
    checks.append((pl.col("action").is_null(), BAD_ACTION))
    checks.append((pl.col("seconds").is_null(), BAD_TIME))
    if check_range:
        in_range = pl.col("seconds").is_between(_EARLIEST_S, _LATEST_S, closed="left")
        checks.append((~in_range, TIME_RANGE))
    bad_value = pl.col("value_given") & ~pl.col("value").is_finite().fill_null(False)
    checks.append((bad_value, BAD_VALUE))
    return pl.coalesce(pl.when(problem).then(pl.lit(text)) for problem, text in checks)


def _finished(good: pl.DataFrame) -> pl.DataFrame:
    own_id = pl.format("row-{}", pl.col("ordinal"))
    return good.select(
        "line",
        "user_id",
        "item_id",
        "action",
        "seconds",
        "time_us",
        "ordinal",
        "value",
        "session_id",
        event_id=pl.when(pl.col("event_id") == "").then(own_id).otherwise(pl.col("event_id")),
    )


def _unknown_actions(frame: pl.DataFrame) -> tuple[str, ...]:
    unknown = frame.filter(pl.col("action").is_null() & (pl.col("action_name") != ""))
    counts = unknown["action_name"].value_counts(sort=True)
    return tuple(counts["action_name"].head(5))
