"""Small logs, written where a test needs them."""

from pathlib import Path
from typing import Any

import polars as pl

from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import EVENTS
from groundswell.trainer.dataset.splits import Split

HEADER = "user_id,item_id,action,timestamp"
CATALOGUE = "item_id,title\na,Apple\nb,Book\nc,Cup\n"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def log(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows)) + "\n"


def prepared(
    folder: Path,
    events: str | bytes,
    items: str | bytes = CATALOGUE,
    split: Split = Split.NONE,
    order_only: bool = False,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Prepare texts in `folder / "out"`: the report, and the events with their ids."""
    report = prepare(
        write(folder / "events.csv", events),
        write(folder / "items.csv", items),
        folder / "out",
        split=split,
        order_only=order_only,
    )
    return report, events_of(folder / "out")


def events_of(folder: Path) -> pl.DataFrame:
    table = pl.read_parquet(folder / EVENTS)
    items = pl.read_parquet(folder / "items.parquet")["item_id"]
    users = pl.read_parquet(folder / "users.parquet")["user_id"]
    return table.with_columns(
        item_id=items.gather(table["item"]), user_id=users.gather(table["user"])
    )
