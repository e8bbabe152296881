"""An event file and an item file → a prepared folder: cleaned, ordered, split, reported."""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from groundswell.features.window import session_starts
from groundswell.trainer import data
from groundswell.trainer.cleaning import Events, read_events
from groundswell.trainer.errors import DataError
from groundswell.trainer.item_table import Items, read_items, without_file
from groundswell.trainer.report import data_report, print_report
from groundswell.trainer.splits import Split, assign

_EVENT_COLUMNS = (
    "user",
    "item",
    "action",
    "time_us",
    "ordinal",
    "value",
    "session_start",
    "event_id",
    "split",
    "target",
)


def prepare(
    events: Path,
    items: Path,
    out: Path,
    *,
    split: Split = Split.LEAVE_ONE_OUT,
    order_only: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Write the prepared folder `out` and return the data report, which `console` also shows.

    An earlier prepared folder at `out` is replaced in one step; its cached text vectors stay.
    Raises DataError, and writes nothing, when a file, a column or the split cannot be used.
    """
    _check_target(out)
    log = read_events(events, force_order_only=order_only)
    if split is Split.TEMPORAL and log.order_only:
        raise DataError(f"a temporal split needs times, and those of {events} are only positions")
    catalogue = read_items(items)
    item_table = _item_table(log, catalogue)
    user_ids = log.frame["user_id"].unique().sort()
    ordered = _ordered(log, user_ids, item_table["item_id"])
    offsets = np.searchsorted(ordered["user"].to_numpy(), np.arange(len(user_ids) + 1))
    assignment = assign(split, offsets, ordered["time_us"].to_numpy())
    ordered = ordered.with_columns(
        session_start=_session_starts(ordered, offsets, log.order_only),
        split=pl.Series(assignment.split_of),
        target=pl.Series(assignment.target),
    )
    report = data_report(log, catalogue, ordered, item_table.height, split)
    meta = _meta(report, ordered, item_table, len(user_ids))
    with _replacing(out) as folder:
        ordered.select(_EVENT_COLUMNS).write_parquet(folder / data.EVENTS)
        item_table.write_parquet(folder / data.ITEMS)
        pl.DataFrame({"user_id": user_ids}).write_parquet(folder / data.USERS)
        _left_out(log, catalogue).write_csv(folder / data.LEFT_OUT)
        (folder / data.META).write_text(json.dumps(meta, indent=2, ensure_ascii=False))
    if console is not None:
        print_report(report, console)
    return report


def _item_table(log: Events, catalogue: Items) -> pl.DataFrame:
    """Put the items that only events know behind those of the file, in order of appearance."""
    named = log.frame["item_id"].unique(maintain_order=True)
    unknown = named.filter(~named.is_in(catalogue.frame["item_id"].implode()))
    return pl.concat([catalogue.frame, without_file(unknown)])


def _ordered(log: Events, user_ids: pl.Series, item_ids: pl.Series) -> pl.DataFrame:
    """Number users and items, and order events by (user, time, ordinal, event id).

    In an order-only log a time becomes the position among the user's events, in seconds.
    """
    users = {user_id: number for number, user_id in enumerate(user_ids)}
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    time = "seconds" if log.order_only else "time_us"
    ordered = log.frame.with_columns(
        user=pl.col("user_id").replace_strict(users, return_dtype=pl.Int32),
        item=pl.col("item_id").replace_strict(rows, return_dtype=pl.Int32),
    ).sort("user", time, "ordinal", "event_id")
    if log.order_only:
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("user")
        ordered = ordered.with_columns(time_us=position * 1_000_000)
    return ordered


def _session_starts(
    ordered: pl.DataFrame, offsets: NDArray[np.int64], order_only: bool
) -> NDArray[np.bool_]:
    starts = np.zeros(ordered.height, dtype=bool)
    if not order_only:
        ids = ordered["session_id"].to_list()
        starts = session_starts(ordered["time_us"].to_numpy(), ids)
    starts[offsets[:-1]] = True
    return starts


def _meta(
    report: dict[str, Any], ordered: pl.DataFrame, item_table: pl.DataFrame, num_users: int
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
        "report": report,
    }


def _left_out(log: Events, catalogue: Items) -> pl.DataFrame:
    return pl.concat(
        part.select(pl.lit(name).alias("file"), "line", "reason")
        for name, part in (("events", log.left_out), ("items", catalogue.left_out))
    )


def _check_target(out: Path) -> None:
    """Refuse to replace what `prepare` did not write."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: give a folder to write to")
    if out.is_dir() and any(out.iterdir()) and not (out / data.META).exists():
        raise DataError(f"{out} holds something else than prepared data: give another folder")


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `out` once it is complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    folder, old = (out.parent / f".{out.name}-{kind}-{mark}" for kind in ("new", "old"))
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            cache = out / data.TEXT_VECTORS
            if cache.is_dir():
                shutil.copytree(cache, folder / data.TEXT_VECTORS, copy_function=_link)
            out.rename(old)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
