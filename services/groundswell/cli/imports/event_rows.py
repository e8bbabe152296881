"""The rows of an event log as the services take them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1.event_pb2 import Event
from groundswell.logs.events import read_events

_ID_BYTES = 8
_PLAIN = ("item_id", "action", "session_id", "time_us", "ordinal")


class EventRows:
    """The usable rows of a log, each user's together and in the order in which they happened.

    So the encoder finds most of a user's history when it first reads it, whatever the order of the
    file. The row's `ordinal` keeps the file's order among equal times.
    """

    def __init__(self, path: Path, separator: str | None = None) -> None:
        """Read the log. Raises DataError when it cannot be used at all."""
        events = read_events(path, separator=separator)
        self.ignored_columns: tuple[str, ...] = events.ignored_columns
        self.notes: tuple[str, ...] = events.notes
        """How the file was read."""
        if events.order_only:
            self.notes += ("the times are only positions: they are taken as seconds since 1970",)
        self._frame = events.frame.sort("user_id", "time_us", "ordinal")
        self.left_out: pl.DataFrame = events.left_out
        """line, reason of each row that cannot be read."""

    def __len__(self) -> int:
        return self._frame.height

    def since(self, position: int) -> Iterator[Event]:
        """The events from a position on."""
        for row in self._frame.slice(position).iter_rows(named=True):
            time = Timestamp()
            time.FromMicroseconds(row["time_us"])
            yield Event(
                event_id=_event_id(row),
                user_id=row["user_id"],
                item_id=row["item_id"],
                action=row["action"],
                value=row["value"],
                time=time,
                ordinal=row["ordinal"],
                session_id=row["session_id"],
            )

    def users(self) -> Iterator[tuple[str, int, int]]:
        """Each user's id, the position of their first row, and how many rows they have."""
        places = self._frame.lazy().with_row_index("first").group_by("user_id", maintain_order=True)
        yield from places.agg(pl.first("first"), pl.len()).collect().iter_rows()

    def plain(self, first: int, length: int) -> list[dict[str, Any]]:
        """The event_id, item_id, action, session_id, time_us and ordinal of some rows."""
        rows = self._frame.slice(first, length).iter_rows(named=True)
        return [{"event_id": _event_id(row)} | {name: row[name] for name in _PLAIN} for row in rows]

    def at(self, position: int) -> Event:
        """One event."""
        return next(self.since(position))


def _event_id(row: dict[str, object]) -> str:
    """The row's own id, or one that the same row of the same log always gets.

    The reader names a row without an id by its number. With that alone, rows of
    two logs would be duplicates of each other, so a hash of the content is added.
    """
    if row["event_id"] != f"row-{row['ordinal']}":
        return str(row["event_id"])
    fields = ("user_id", "item_id", "action", "time_us", "value", "session_id")
    content = "\0".join(str(row[name]) for name in fields)
    digest = hashlib.blake2b(content.encode(), digest_size=_ID_BYTES)
    return f"{row['ordinal']}-{digest.hexdigest()}"
