"""The world that the bench serves, and the bundle of full size that it trains on it, once a run."""

import csv
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from groundswell.client import event
from groundswell.common.v1.event_pb2 import Event
from tests.support.cli import groundswell
from tests.support.worlds import synthetic_world

NUM_ITEMS = 1_700
"""As many as MovieLens-100k has."""
NUM_USERS = 120
USER = "user-0000"
"""A user whose history is longer than the window."""

_FOLDER = Path("build/bench")
PREPARED = _FOLDER / "prepared"
"""The log as training read it."""
_SESSIONS = 14
_TIMEOUT_S = 600.0
# What a bundle costs to serve does not depend on how well it is trained, but on what it reads.
_SETTINGS = ("max_epochs=1", "patience=1", "history_text=read")


class World(NamedTuple):
    """A catalogue, a log, and the folder of bundles with the one that was trained on them."""

    items: list[tuple[str, str, tuple[str, ...]]]
    """(item_id, title, categories)"""
    events_file: Path
    bundles: Path
    database: Path
    """Where the profile service keeps the world; filled and encoded once a run."""

    def events(self) -> Iterator[Event]:
        """Read the log."""
        with self.events_file.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                yield event(
                    row["user_id"],
                    row["item_id"],
                    row["action"],
                    time=float(row["timestamp"]),
                    event_id=str(number),
                    ordinal=number,
                )


@cache
def world() -> World:
    """Make the world and train on it."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
    files = synthetic_world(
        _FOLDER / "world", users=NUM_USERS, items=NUM_ITEMS, categories=8, sessions=_SESSIONS
    )
    data, bundles = PREPARED, _FOLDER / "bundles"
    _run("prepare", "--events", files.events, "--items", files.items, "--out", data)
    settings = [part for setting in _SETTINGS for part in ("--set", setting)]
    _run("train", "--data", data, "--bundles", bundles, *settings)
    with files.items.open(newline="") as file:
        items = [
            (row["item_id"], row["title"], tuple(row["categories"].split("|")))
            for row in csv.DictReader(file)
        ]
    return World(items, files.events, bundles.resolve(), _FOLDER.resolve() / "groundswell.db")


def _run(*arguments: str | Path) -> None:
    done = groundswell(*map(str, arguments), timeout=_TIMEOUT_S)
    if done.returncode != 0:
        raise RuntimeError(f"groundswell {arguments[0]} failed: {done.stderr}")
