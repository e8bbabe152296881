"""Prepares an event file and an item file for training: cleaned, ordered, split, reported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.logs.events import Events, read_events
from groundswell.logs.items import COLUMNS, Items, read_items, without_file
from groundswell.trainer.dataset import prepared as data
from groundswell.trainer.dataset.action_weights import action_weights
from groundswell.trainer.dataset.anomalies import find_anomalies
from groundswell.trainer.dataset.cold import cold_items
from groundswell.trainer.dataset.disk import check_writable, told_when_full
from groundswell.trainer.dataset.filters import Filters, apply_filters
from groundswell.trainer.dataset.replacing import mend, replacing
from groundswell.trainer.dataset.report import CleanedLog, data_report
from groundswell.trainer.dataset.sessions import DEFAULT_GAP, by_session
from groundswell.trainer.dataset.splits import Choice, Log, Split, assign, choose, hold_out_cold
from groundswell.trainer.errors import DataError

_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "lost+found", "@eaDir")
"""What systems leave in folders."""
_EVENT_COLUMNS = (
    "user",
    "item",
    "action",
    "time_us",
    "ordinal",
    "value",
    "weight",
    "session",
    "session_start",
    "event_id",
    "split",
    "target",
)


@dataclass(frozen=True)
class Options:
    """How a log is prepared, besides its split."""

    session_gap: timedelta = DEFAULT_GAP
    """A longer pause parts the sessions of events without a session id."""
    action_weights: Mapping[str, float] = field(default_factory=dict)
    """By action: its weight as a target of training, 1 unless given; 0 = input only. That of
    DISLIKE is 0."""
    cold_items: float = 0.0
    """Share of the items that are kept out of training, to test what text alone knows of them."""
    seed: int = 0
    """Decides which items are cold."""
    filters: Filters = field(default_factory=Filters)
    """What is left out though it could be read."""
    separator: str | None = None
    """Between the columns of CSV; found by the header without it."""
    attribute_kinds: Mapping[str, str] = field(default_factory=dict)
    """By attribute: number, flag, text or texts; told from the whole column without it."""
    impute_times: bool = False
    """A row without a time takes that of its user's row before it, or else of the one after it."""


def prepare(
    events: Path,
    items: Path,
    out: Path,
    *,
    split: Split | None = Split.LEAVE_ONE_OUT,
    order_only: bool = False,
    options: Options | None = None,
) -> dict[str, Any]:
    """Write the prepared folder `out` and return the data report.

    Without a `split` the log decides, and the report says why. An earlier prepared folder at `out`
    is replaced in one step; its cached text vectors and the
    TensorBoard logs of trainings stay. Raises DataError, and writes nothing, when anything else is
    in it, and when a file, a column or an option cannot be used.
    """
    options = options or Options()
    mend(out)
    _check_target(out)
    check_writable(out.parent)
    weights = action_weights(options.action_weights)
    log = read_events(
        events,
        force_order_only=order_only,
        impute_times=options.impute_times,
        separator=options.separator,
    )
    _check_split(split, log, events)
    catalogue = read_items(items, separator=options.separator, kinds=options.attribute_kinds)
    anomalies = find_anomalies(log, catalogue)
    log, catalogue = apply_filters(log, catalogue, anomalies, options.filters)
    item_table = _item_table(log, catalogue, options)
    user_ids = log.frame["user_id"].unique().sort()
    ordered = _ordered(log, user_ids, item_table["item_id"], options.session_gap)
    choice = _choice(split, ordered, weights, log)
    ordered = _split(ordered, choice.split, weights, item_table["cold"])
    cleaned = CleanedLog(log, catalogue, anomalies.found, options.filters)
    report = data_report(cleaned, ordered, item_table, choice)
    meta = _meta(report, ordered, item_table, len(user_ids), options)
    kept = "what was there before is unchanged; make room, or choose another --out"
    with told_when_full([out], kept), replacing(out, data.KEPT) as folder:
        ordered.select(_EVENT_COLUMNS).write_parquet(folder / data.EVENTS)
        item_table.write_parquet(folder / data.ITEMS)
        pl.DataFrame({"user_id": user_ids}).write_parquet(folder / data.USERS)
        _left_out(log, catalogue).write_csv(folder / data.LEFT_OUT)
        text = json.dumps(meta, indent=2, ensure_ascii=False)
        (folder / data.META).write_text(text, encoding="utf-8")
    return report


def _check_split(split: Split | None, log: Events, path: Path) -> None:
    if split is None or not log.order_only:
        return
    if split is Split.TEMPORAL:
        raise DataError(f"a temporal split needs times, and those of {path} are only positions")
    if split is Split.NEXT_SESSION and not (log.frame["session_id"] != "").any():
        raise DataError(
            f"a next-session split needs sessions: the times of {path} are only positions, and "
            "it has no session_id"
        )


def _choice(
    split: Split | None, ordered: pl.DataFrame, weights: NDArray[np.float32], log: Events
) -> Choice:
    """Take the split that was asked for, or the one that suits the log."""
    if split is not None:
        return Choice(split, "")
    has_session_ids = bool((log.frame["session_id"] != "").any())
    arrays = _arrays(ordered, weights)
    return choose(arrays, order_only=log.order_only, has_session_ids=has_session_ids)


def _arrays(ordered: pl.DataFrame, weights: NDArray[np.float32]) -> Log:
    """Return what splits read; `weights` are by action number."""
    users = ordered["user"].to_numpy()
    return Log(
        np.searchsorted(users, np.arange(users[-1] + 2)),
        ordered["time_us"].to_numpy(),
        ordered["session"].to_numpy(),
        weights[ordered["action"].to_numpy()],
    )


def _split(
    ordered: pl.DataFrame, split: Split, weights: NDArray[np.float32], cold: pl.Series
) -> pl.DataFrame:
    """Add `weight`, `split` and `target`; `weights` are by action number, `cold` by item."""
    log = _arrays(ordered, weights)
    is_cold = cold.to_numpy()[ordered["item"].to_numpy()]
    split_of, target = hold_out_cold(assign(split, log), log, is_cold)
    return ordered.with_columns(
        weight=pl.Series(log.weights), split=pl.Series(split_of), target=pl.Series(target)
    )


def _item_table(log: Events, catalogue: Items, options: Options) -> pl.DataFrame:
    """Put the items that only events know behind those of the file, in order of appearance.

    Adds `cold`.
    """
    named = log.frame["item_id"].unique(maintain_order=True)
    unknown = named.filter(~named.is_in(catalogue.frame["item_id"].implode()))
    table = pl.concat([catalogue.frame.select(COLUMNS), without_file(unknown)])
    try:
        cold = cold_items(table["item_id"].to_list(), options.cold_items, options.seed)
    except ValueError as error:
        raise DataError(str(error)) from error
    return table.with_columns(cold=pl.Series(cold))


def _ordered(
    log: Events, user_ids: pl.Series, item_ids: pl.Series, session_gap: timedelta
) -> pl.DataFrame:
    """Number users, items and sessions, and order events by user, session and time.

    In an order-only log a time becomes the position among the user's events, in seconds.
    """
    users = {user_id: number for number, user_id in enumerate(user_ids)}
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    time = "seconds" if log.order_only else "time_us"
    ordered = log.frame.with_columns(
        user=pl.col("user_id").replace_strict(users, return_dtype=pl.Int32),
        item=pl.col("item_id").replace_strict(rows, return_dtype=pl.Int32),
    ).sort("user", time, "ordinal", "event_id")
    ordered = by_session(ordered, None if log.order_only else session_gap)
    if log.order_only:
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("user")
        ordered = ordered.with_columns(time_us=position * 1_000_000)
    return ordered


def _meta(
    report: dict[str, Any],
    ordered: pl.DataFrame,
    item_table: pl.DataFrame,
    num_users: int,
    options: Options,
) -> dict[str, Any]:
    names = item_table["categories"].explode().drop_nulls().value_counts()
    return {
        "format": data.FORMAT,
        "split": report["split"],
        "order_only": report["order_only"],
        "num_users": num_users,
        "num_items": item_table.height,
        "num_events": ordered.height,
        "first_time_us": ordered["time_us"].min(),
        "last_time_us": ordered["time_us"].max(),
        "categories": names.sort("count", "categories", descending=[True, False])[
            "categories"
        ].to_list(),
        "session_gap_s": options.session_gap.total_seconds(),
        "action_weights": dict(options.action_weights),
        "cold_items": options.cold_items,
        "seed": options.seed,
        "filters": options.filters.names,
        "report": report,
    }


def _left_out(log: Events, catalogue: Items) -> pl.DataFrame:
    return pl.concat(
        part.select(pl.lit(name).alias("file"), "line", "reason")
        for name, part in (("events", log.left_out), ("items", catalogue.left_out))
    )


def _check_target(out: Path) -> None:
    """Refuse to replace what neither `prepare` nor a training wrote."""
    if out.is_symlink() and not out.exists():
        raise DataError(f"{out} is a link to nothing: give a folder to write to")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: give a folder to write to")
    if not out.is_dir():
        return
    inside = sorted(path.name for path in out.iterdir())
    if inside and data.META not in inside:
        raise DataError(f"{out} holds something else than prepared data: give another folder")
    others = [name for name in inside if name not in data.WRITTEN and not _is_litter(name)]
    if others:
        raise DataError(
            f"{out} holds {others[0]!r} beside prepared data, and would be replaced with all that "
            "is in it: move that away, or give another folder"
        )


def _is_litter(name: str) -> bool:
    return name in _LITTER or name.startswith((".probe-", ".nfs"))
