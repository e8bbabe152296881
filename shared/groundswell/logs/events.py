"""A behaviour log → typed events, and the reason for each row that is left out."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from groundswell.contract.events import (
    EARLIEST_S,
    LATEST_S,
    MAX_EVENT_ID_BYTES,
    MAX_ID_BYTES,
    MAX_SESSION_ID_BYTES,
)
from groundswell.features.actions import ACTIONS
from groundswell.logs.errors import DataError
from groundswell.logs.raw_table import LINE, ROW, RawTable
from groundswell.logs.tables import read_table
from groundswell.logs.texts import (
    INEXACT,
    NO_VALUE,
    NOT_UTF8,
    as_ids,
    as_text,
    has_text,
    without_words,
)
from groundswell.logs.times import (
    BAD_TIME,
    SECONDS,
    TIME_RANGE,
    RawTimes,
    Times,
    as_seconds,
    in_one_unit,
    raw_times,
)

REQUIRED = ("user_id", "item_id", "action", "timestamp")
_VALUE_COLUMNS = ("value", "rating", "rate")
_OPTIONAL = ("session_id", "event_id")
_MAX_BYTES = {
    "user_id": MAX_ID_BYTES,
    "item_id": MAX_ID_BYTES,
    "session_id": MAX_SESSION_ID_BYTES,
    "event_id": MAX_EVENT_ID_BYTES,
}
"""The services would reject a longer one."""
_MAX_EXAMPLES, _EXAMPLE_LENGTH = 5, 60

NO_TIME = "timestamp is missing"
BAD_ACTION = "action is unknown"
BAD_VALUE = "value is not a finite number"


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
    examples: Mapping[str, tuple[str, ...]]
    """By reason, the texts of actions, times or values that cannot be read: the five most
    frequent ones."""
    num_imputed_times: int
    notes: tuple[str, ...]
    """How the file was read and what was changed, in sentences for the user."""


def read_events(
    path: Path,
    *,
    force_order_only: bool = False,
    impute_times: bool = False,
    separator: str | None = None,
) -> Events:
    """Read and clean an event log. Raises DataError when the file cannot be used at all.

    What is missing: a value stays missing; a session is then found by the times; an event_id
    becomes the row's number; a row without a time is left out, since a guess could move it from one
    set of a split to another. With `impute_times` it happens with its user's row before it in the
    file, or else with the one after it: right for a file in the order of time. A time that is there
    and cannot be read is never replaced.
    """
    raw = read_table(path, REQUIRED, separator=separator)
    value = next((name for name in _VALUE_COLUMNS if name in raw.names), None)
    _check_kinds(path, raw.frame, value)
    raw_column = raw_times(raw.frame["timestamp"])
    frame, notes = _typed(raw, raw_column, value)
    order_only = force_order_only or is_order_only(frame)
    times = _times(path, raw_column, order_only=order_only)
    frame = frame.with_columns(
        seconds=times.seconds, time_us=times.time_us, time_problem=times.problem
    )
    if times.unit != SECONDS:
        notes.append(f"times are read as {times.unit}")
    if impute_times:
        frame = _with_imputed_times(frame)
    frame = frame.with_columns(reason=_reason(check_range=not order_only))
    good = frame.filter(pl.col("reason").is_null())
    gone = pl.concat([raw.left_out, frame.drop_nulls("reason").select("line", "reason")])
    examples = _examples(frame)
    if good.height == 0:
        raise DataError(_nothing_left(path, gone, examples) + raw.how_read)
    known = {*REQUIRED, *_OPTIONAL, value}
    return Events(
        frame=_finished(good),
        order_only=order_only,
        left_out=gone.sort("line"),
        num_rows=raw.num_rows,
        ignored_columns=tuple(name for name in raw.names if name not in known),
        examples=examples,
        num_imputed_times=int((~good["time_given"]).sum()),
        notes=(*raw.notes, *notes),
    )


def _times(path: Path, raw: RawTimes, *, order_only: bool) -> Times:
    try:
        return as_seconds(raw) if order_only else in_one_unit(raw)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _check_kinds(path: Path, frame: pl.DataFrame, value: str | None) -> None:
    """Refuse Parquet columns of an impossible type; text is checked row by row."""
    for name in (*REQUIRED, *_OPTIONAL, value):
        if name is None or name not in frame.columns:
            continue
        kind = frame[name].dtype
        no_time = name == "timestamp" and kind in (pl.Time, pl.Boolean)
        no_number = name == value and kind.is_temporal()
        if not has_text(kind) or no_time or no_number:
            raise DataError(f"the column {name!r} of {path} cannot be used: it holds {kind}")


def _nothing_left(path: Path, gone: pl.DataFrame, examples: Mapping[str, tuple[str, ...]]) -> str:
    reasons = []
    for reason in gone["reason"].unique().sort():
        named = f", such as {examples[reason][0]!r}" if reason in examples else ""
        reasons.append(f"{reason}{named}")
    return f"{path} has no row that can be used: {'; '.join(reasons)}"


def is_order_only(frame: pl.DataFrame) -> bool:
    """Whether every user's times are only positions: 0, 1, 2 … without a repeat.

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


def _typed(raw: RawTable, times: RawTimes, value: str | None) -> tuple[pl.DataFrame, list[str]]:
    """Convert every column but the times; list what was changed."""
    columns, notes = [], list[str]()
    for name in ("user_id", "item_id", *_OPTIONAL):
        columns += _ids(raw, name, notes)
    action = as_text(raw.frame["action"]).str.strip_chars()
    numbers = {name: number for number, name in enumerate(ACTIONS, start=1)}
    number = action.str.to_lowercase().replace_strict(numbers, default=None, return_dtype=pl.Int8)
    time_text, _ = without_words(times.text)
    frame = pl.DataFrame(
        [
            raw.frame[ROW].alias("ordinal"),
            raw.frame[LINE].alias("line"),
            *columns,
            action.alias("action_text"),
            number.alias("action"),
            time_text.alias("time_text"),
            (time_text != "").fill_null(True).alias("time_given"),
            times.seconds.alias("seconds"),
            *_values(raw, value, notes),
        ]
    )
    return frame, notes


def _ids(raw: RawTable, name: str, notes: list[str]) -> list[pl.Series]:
    """Read a column of ids as `name` and `name problem`; optional ids lose words for no value."""
    if name not in raw.names:
        nothing = pl.repeat("", raw.frame.height, dtype=pl.String, eager=True)
        return [nothing.alias(name), nothing.set(nothing == "", None).alias(f"{name} problem")]
    ids = as_ids(raw.frame[name])
    text, problem = ids.text, ids.problem
    notes += ids.notes(name)
    words = (problem == NO_VALUE).fill_null(False)
    if name in _OPTIONAL and words.any():
        notes.append(f"{name}: {int(words.sum()):,} times {NO_VALUE}, taken as missing")
        text, problem = text.set(words, ""), problem.set(words, None)
    return [text.alias(name), problem.alias(f"{name} problem")]


def _with_imputed_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each row without a time the time of its user's nearest row above, or else below."""
    times = ("seconds", "time_us")
    near = [pl.col(name).forward_fill().backward_fill().over("user_id") for name in times]
    missing = frame.select(pl.col("seconds").is_null() & ~pl.col("time_given")).to_series()
    return frame.with_columns(
        pl.when(missing).then(column).otherwise(pl.col(name))
        for name, column in zip(times, near, strict=True)
    )


def _values(raw: RawTable, name: str | None, notes: list[str]) -> list[pl.Series]:
    """Read the value column: `value` (null for none), `value_text` and `value_given`."""
    if name is None:
        nothing = pl.repeat(None, raw.frame.height, dtype=pl.Float64, eager=True)
        given = nothing.is_not_null().alias("value_given")
        return [nothing.alias("value"), nothing.cast(pl.String).alias("value_text"), given]
    column = raw.frame[name]
    text, num_words = without_words(as_text(column).str.strip_chars())
    if num_words:
        notes.append(f"{name}: {num_words:,} times {NO_VALUE}, taken as missing")
    given = (text != "").fill_null(True)
    numbers = text if column.dtype == pl.String else column
    value = numbers.cast(pl.Float64, strict=False).set(~given, None)
    return [value.alias("value"), text.alias("value_text"), given.alias("value_given")]


def _reason(*, check_range: bool) -> pl.Expr:
    """The first reason to leave a row out; null for a good row."""
    checks: list[tuple[pl.Expr, str]] = []
    for name, limit in _MAX_BYTES.items():
        column, problem = pl.col(name), pl.col(f"{name} problem")
        checks.append((column.is_null(), f"{name} is {NOT_UTF8}"))
        if name in REQUIRED:
            checks.append((column == "", f"{name} is missing"))
        checks += [(problem == known, f"{name} is {known}") for known in (NO_VALUE, INEXACT)]
        checks.append((column.str.contains("\0", literal=True), f"{name} holds a NUL"))
        checks.append((column.str.len_bytes() > limit, f"{name} is longer than {limit} bytes"))
    checks.append((pl.col("action").is_null(), BAD_ACTION))
    checks.append((pl.col("seconds").is_null() & ~pl.col("time_given"), NO_TIME))
    checks.append((pl.col("seconds").is_null(), BAD_TIME))
    in_range = pl.col("seconds").is_between(EARLIEST_S, LATEST_S, closed="left")
    bad_value = pl.col("value_given") & ~pl.col("value").is_finite().fill_null(False)
    found: list[pl.Expr] = [pl.when(problem).then(pl.lit(text)) for problem, text in checks]
    found.append(pl.col("time_problem"))
    if check_range:
        found.append(pl.when(~in_range).then(pl.lit(TIME_RANGE)))
    return pl.coalesce(*found, pl.when(bad_value).then(pl.lit(BAD_VALUE)))


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


def _examples(frame: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Quote the most frequent unreadable texts for each reason."""
    quoted = {BAD_ACTION: "action_text", BAD_TIME: "time_text", TIME_RANGE: "time_text"}
    quoted[BAD_VALUE] = "value_text"
    examples = {}
    for reason, name in quoted.items():
        texts = frame.filter((pl.col("reason") == reason) & (pl.col(name) != ""))[name]
        if len(texts):
            counts = (
                texts.str.head(_EXAMPLE_LENGTH)
                .value_counts()
                .sort("count", name, descending=[True, False])
            )
            examples[reason] = tuple(counts[name].head(_MAX_EXAMPLES))
    return examples
