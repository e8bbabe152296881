"""The data report: what a log holds, what was left out of it, and what looks wrong."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console
from rich.table import Table

from groundswell.features.actions import ACTIONS
from groundswell.logs.alike import alike_users, find_alike
from groundswell.logs.events import BAD_ACTION, BAD_VALUE, Events
from groundswell.logs.items import Items
from groundswell.logs.times import BAD_TIME, OTHER_UNIT, TIME_RANGE
from groundswell.trainer.dataset.filters import Filters
from groundswell.trainer.dataset.prepared import TEST, TRAIN, VALIDATION
from groundswell.trainer.dataset.splits import MIN_EVENTS, Choice, Split

_LINES_NAMED = 3
_FLOOD_SHARE = 0.05
_FLOOD_MINIMUM = 1_000
_SMALL_TRAINING_SHARE = 0.5
_DUPLICATES = {
    "event_ids": "repeat an event_id of their user: a service takes one of each",
    "rows": "say the same as another: user, item, action, time, value and session",
}
_QUOTED = {
    BAD_ACTION: "unknown actions",
    BAD_TIME: "times that cannot be read",
    TIME_RANGE: "times that are not between the years 1900 and 2200",
    BAD_VALUE: "values that are no finite number",
}
_TIMES = {"future": "in the future", "before_1990": "before 1990"}


class CleanedLog(NamedTuple):
    """The files as read, and what looks wrong in them."""

    events: Events
    items: Items
    anomalies: dict[str, Any]
    """`anomalies.Anomalies.found`, before anything was left out for it."""
    filters: Filters


def data_report(
    cleaned: CleanedLog, log: pl.DataFrame, item_table: pl.DataFrame, choice: Choice
) -> dict[str, Any]:
    """Describe a prepared log; `log` is its table of ordered events."""
    events, items = cleaned.events, cleaned.items
    num_items = item_table.height
    lengths = log.group_by("user").len()["len"]
    on_cold = item_table["cold"].gather(log["item"])
    report: dict[str, Any] = {
        **_about_files(events, items),
        "events": log.height,
        "users": len(lengths),
        "items": num_items,
        "items_with_events": log["item"].n_unique(),
        "items_without_file": num_items - items.frame.height,
        "density": log.n_unique(["user", "item"]) / (len(lengths) * log["item"].n_unique()),
        "events_per_user": _spread(lengths),
        "events_by_action": _by_action(log["action"]),
        "order_only": events.order_only,
        "first_time": None if events.order_only else _iso(log["time_us"].min()),
        "last_time": None if events.order_only else _iso(log["time_us"].max()),
        "without_value": log["value"].null_count(),
        "sessions": int(log["session_start"].sum()) if _has_sessions(events) else None,
        "events_per_session": _spread(log.group_by("session").len()["len"]),
        "anomalies": cleaned.anomalies,
        "filters": cleaned.filters.names,
        "cold_items": int(item_table["cold"].sum()),
        "cold_events": int(on_cold.sum()),
        "equal_times": int(log.select(pl.struct("user", "time_us").is_duplicated().sum()).item()),
        "split": str(choice.split),
        "split_reason": choice.reason,
        "split_events": [int((log["split"] == part).sum()) for part in (TRAIN, VALIDATION, TEST)],
        "targets": [int((log["target"] == part).sum()) for part in (VALIDATION, TEST)],
    }
    report["warnings"] = list(_warnings(report, cleaned, log))
    return report


def _about_files(events: Events, items: Items) -> dict[str, Any]:
    """Describe the files: rows read, rows left out, and notes."""
    return {
        "rows_read": events.num_rows,
        "item_rows_read": items.num_rows,
        "left_out": _counts(events.left_out),
        "items_left_out": _counts(items.left_out),
        "first_lines": {"left_out": _lines_of(events), "items_left_out": _lines_of(items)},
        "notes": {"event": list(events.notes), "item": list(items.notes)},
        "attributes": items.attribute_kinds,
        "items_without_title": int((items.frame["title"].str.strip_chars() == "").sum()),
        "unavailable_items": int((~items.frame["available"]).sum()),
        "imputed_times": events.num_imputed_times,
    }


def print_report(report: dict[str, Any], console: Console) -> None:
    """Show the report to a person."""
    table = Table("the data", "", show_header=True, title_justify="left")
    for name, value in _lines(report):
        table.add_row(name, value)
    console.print(table)
    for kind, title in (("left_out", "event rows"), ("items_left_out", "item rows")):
        for reason, count in report[kind].items():
            lines = ", ".join(f"{line:,}" for line in report["first_lines"][kind][reason])
            where = f"line {lines}" if count == 1 else f"lines {lines}"
            more = ", …" if count > _LINES_NAMED else ""
            said = f"left out: {count:,} {title}: {reason} ({where}{more})"
            console.print(said, style="yellow", markup=False, soft_wrap=True)
    for file, notes in report["notes"].items():
        for note in notes:
            console.print(f"the {file} file: {note}", markup=False, soft_wrap=True)
    for warning in report["warnings"]:
        console.print(f"look at this: {warning}", style="yellow", markup=False, soft_wrap=True)


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    least, median, most = report["events_per_user"].values()
    yield "rows read", f"{report['rows_read']:,}"
    yield "events", f"{report['events']:,}"
    yield "users", f"{report['users']:,}"
    yield "items", f"{report['items']:,} ({report['items_with_events']:,} with events)"
    yield "density", f"{report['density']:.3%}"
    yield "events per user", f"{least:,} to {most:,}, median {median:,.0f}"
    actions = report["events_by_action"].items()
    yield "actions", ", ".join(f"{count:,} {name}" for name, count in actions)
    if report["order_only"]:
        yield "times", "positions only: no time features, no time checks"
    else:
        yield "times", f"{report['first_time']} to {report['last_time']}"
    if report["imputed_times"]:
        yield "imputed times", f"{report['imputed_times']:,}, from a row beside them"
    if report["sessions"]:
        _, median, most = report["events_per_session"].values()
        sessions = f"{report['sessions']:,}, of up to {most:,} events, median {median:,.0f}"
        yield "sessions", sessions
    if not report["order_only"]:
        share = report["equal_times"] / report["events"]
        yield "equal times", f"{share:.1%} of events share their time with another of their user"
    train, validation, test = report["split_events"]
    yield "split", f"{report['split']}: {train:,} train, {validation:,} validation, {test:,} test"
    if report["split_reason"]:
        yield "this split, for", report["split_reason"]
    yield "targets", "{:,} validation, {:,} test".format(*report["targets"])
    if report["attributes"]:
        kinds = report["attributes"].items()
        yield "attributes", ", ".join(f"{name} {kind}" for name, kind in kinds)
    if report["unavailable_items"]:
        yield "unavailable", f"{report['unavailable_items']:,} items: never recommended"
    if report["cold_items"]:
        yield "cold", f"{report['cold_items']:,} items with {report['cold_events']:,} events"


def _warnings(report: dict[str, Any], cleaned: CleanedLog, log: pl.DataFrame) -> Iterator[str]:
    yield from _row_warnings(report, cleaned.events, cleaned.items)
    yield from _anomaly_warnings(cleaned.anomalies, cleaned.filters)
    flood = report["events_per_user"]["most"]
    if flood > max(_FLOOD_MINIMUM, _FLOOD_SHARE * log.height):
        yield f"one user has {flood:,} events, {flood / log.height:.0%} of all: a machine?"
    yield from _split_warnings(report, log)


def _anomaly_warnings(found: dict[str, Any], filters: Filters) -> Iterator[str]:
    """Say what looks wrong and was not left out."""
    if not filters.duplicates:
        for name, count in found["duplicates"].items():
            if count:
                yield f"{count:,} events {_DUPLICATES[name]} (--drop-duplicates)"
    if not filters.impossible_times:
        for name, count in found["impossible_times"].items():
            if count:
                yield f"{count:,} events lie {_TIMES[name]} (--drop-impossible-times)"
    bots, mute = found["bots"], found["without_text"]
    if bots["users"] and not filters.bots:
        yield (
            f"{bots['users']:,} users with {bots['events']:,} events act faster than people do: "
            f"more than {bots['most_per_hour']:,.0f} events an active hour or "
            f"{bots['most_in_a_minute']:,.0f} in a minute (--drop-bots)"
        )
    if (mute["items"] or mute["events"]) and not filters.without_text:
        yield (
            f"{mute['events']:,} events are on items without text, of which the item file has "
            f"{mute['items']:,} (--drop-without-text)"
        )


def _row_warnings(report: dict[str, Any], events: Events, items: Items) -> Iterator[str]:
    for reason, what in _QUOTED.items():
        if reason in events.examples:
            names = ", ".join(repr(name) for name in events.examples[reason])
            yield f"{report['left_out'][reason]:,} events have {what}, such as {names}"
    for reason, count in report["left_out"].items():
        if reason.startswith(OTHER_UNIT):
            yield f"{count:,} events are left out, since their {reason}"
    for file, columns in (("event", events.ignored_columns), ("item", items.ignored_columns)):
        if columns:
            yield f"columns of the {file} file that nothing reads: {', '.join(columns)}"
    missing = report["items_without_file"]
    if missing:
        yield f"{missing:,} items of the events are not in the item file: they have no title"
    yield from _alike_warnings(events, items)
    if report["items_without_title"]:
        yield f"{report['items_without_title']:,} items of the item file have no title"


def _alike_warnings(events: Events, items: Items) -> Iterator[str]:
    """Name the ids that only look alike, as those of two exports of one shop do."""
    named, known = events.frame["item_id"].unique(), items.frame["item_id"]
    for alike in find_alike(named.filter(~named.is_in(known.implode())).sort(), known):
        yield f"items of the events are not in the item file, but others like them: {alike}"
    for alike in alike_users(events.frame["user_id"].unique().sort()):
        yield f"users of the events look alike and are kept apart: {alike}"


def _split_warnings(report: dict[str, Any], log: pl.DataFrame) -> Iterator[str]:
    if report["split"] == Split.LEAVE_ONE_OUT:
        short = log.group_by("user").len().filter(pl.col("len") < MIN_EVENTS).height
        if short:
            yield f"{short:,} users have fewer than {MIN_EVENTS} events: they only train"
    if report["split"] == Split.NEXT_SESSION:
        sessions = log.group_by("user").agg(pl.col("session_start").sum())["session_start"]
        single = int((sessions < 2).sum())
        if single:
            yield f"{single:,} users have one session: they only train"
    if report["split"] != Split.NONE:
        for name, count in zip(("validation", "test"), report["targets"], strict=True):
            if count == 0:
                yield f"the {name} set has no target"
    if report["split_events"][0] < _SMALL_TRAINING_SHARE * report["events"]:
        yield "less than half of the events train: is one time far from all others?"


def _spread(lengths: pl.Series) -> dict[str, Any]:
    return {"least": lengths.min(), "median": lengths.median(), "most": lengths.max()}


def _by_action(actions: pl.Series) -> dict[str, int]:
    counts = actions.value_counts(sort=True)
    return {ACTIONS[number - 1]: count for number, count in counts.iter_rows()}


def _has_sessions(events: Events) -> bool:
    return not events.order_only or bool((events.frame["session_id"] != "").any())


def _counts(left_out: pl.DataFrame) -> dict[str, int]:
    counts = left_out.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counts.iter_rows())


def _lines_of(read: Events | Items) -> dict[str, list[int]]:
    """By reason, the first lines that were left out for it."""
    lines = read.left_out.group_by("reason").agg(pl.col("line").sort().head(_LINES_NAMED))
    return dict(lines.iter_rows())


def _iso(time_us: Any) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
