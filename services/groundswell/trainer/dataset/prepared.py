"""The prepared folder, opened for reading: what training and evaluation know about a log."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.features.text import item_text
from groundswell.trainer.dataset.replacing import mend
from groundswell.trainer.errors import DataError

FORMAT = 2

EVENTS = "events.parquet"
ITEMS = "items.parquet"
USERS = "users.parquet"
META = "meta.json"
LEFT_OUT = "left_out.csv"
PICTURE = "report.png"
SIGNALS = "signals.json"
TEXT_VECTORS = "text_vectors"
"""The cache of encoded texts."""
RUNS = "tensorboard"
KEPT = (TEXT_VECTORS, RUNS)
"""Folders that trainings write; they stay when a log is prepared again."""
WRITTEN = (EVENTS, ITEMS, USERS, META, LEFT_OUT, PICTURE, SIGNALS, *KEPT)
"""All that a prepared folder may hold."""

NEXT_SESSION = "next-session"
TRAIN, VALIDATION, TEST = 0, 1, 2
"""Values of `split_of`: where an event lies; and, but for 0 = none, of `target`."""

OF_EVENTS = (
    *("items", "actions", "times_us", "weights", "sessions", "starts"),
    *("split_of", "target"),
)
"""The fields of `Prepared` with a value for each event."""
_HASH_LENGTH = 12


@dataclass(frozen=True)
class Prepared:
    """A cleaned, ordered and split log. Users and items are numbered from 0.

    U users, E events, N items. Events are ordered by (user, start of the session, first row of the
    session, time, ordinal, event id): those of user x are [offsets[x], offsets[x + 1]), and those
    of a session are contiguous. This is the order of time unless sessions of a user overlap. The
    input of a target event at position p of user x is the user's events [0, p).
    """

    folder: Path
    split: str
    """A value of `splits.Split`: "leave-one-out", "temporal", "next-session" or "none"."""
    order_only: bool
    """True when times are only positions: no feature of time may be made of them."""
    offsets: NDArray[np.int64]
    """[U + 1]"""
    items: NDArray[np.int32]
    """[E] item of each event, a row of `item_table`."""
    actions: NDArray[np.int8]
    """[E] action numbers of `features.actions`."""
    times_us: NDArray[np.int64]
    """[E] microseconds since 1970."""
    weights: NDArray[np.float32]
    """[E] the weight of each event as a target, by its action; 0 = input only, never a target."""
    sessions: NDArray[np.int32]
    """[E] number of the session of each event, ascending over the whole log."""
    starts: NDArray[np.bool_]
    """[E] True where a session starts."""
    split_of: NDArray[np.int8]
    """[E] TRAIN, VALIDATION or TEST: where the event lies."""
    target: NDArray[np.int8]
    """[E] VALIDATION or TEST where the event is to be predicted in that set; else 0."""
    cold: NDArray[np.bool_]
    """[N] True for an item that is kept out of training altogether: see `for_training`."""
    item_table: pl.DataFrame
    """[N] item_id, title, description, categories (primary first), attributes (JSON text)."""
    user_ids: list[str]
    """[U]"""
    categories: tuple[str, ...]
    """[C] of the catalogue, the most frequent first; empty when it has none."""
    meta: dict[str, Any]
    """The contents of meta.json, with the report."""

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.offsets) - 1

    @property
    def num_items(self) -> int:
        """N."""
        return self.item_table.height

    @cached_property
    def item_ids(self) -> list[str]:
        """[N] the client's ids."""
        return self.item_table["item_id"].to_list()

    @cached_property
    def titles(self) -> list[str]:
        """[N] titles; empty for an item that the item file lacks."""
        return self.item_table["title"].to_list()

    @cached_property
    def texts(self) -> list[str]:
        """[N] what the text encoder reads of each item; empty without title and categories."""
        columns = (self.item_table[name] for name in ("title", "categories", "description"))
        return [item_text(*row) for row in zip(*columns, strict=True)]

    @cached_property
    def item_category(self) -> NDArray[np.int32]:
        """[N] the primary category, a position in `categories`; -1 for none."""
        position = {name: number for number, name in enumerate(self.categories)}
        primary = self.item_table["categories"].list.first()
        return np.array([position.get(name, -1) for name in primary], dtype=np.int32)

    @cached_property
    def users(self) -> NDArray[np.int32]:
        """[E] user of each event."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), np.diff(self.offsets))

    @cached_property
    def session_place(self) -> NDArray[np.int32]:
        """[E] place of each event in its session: 1 for the first one."""
        index = np.arange(len(self.sessions), dtype=np.int32)
        return index - self._session_begin + 1

    @cached_property
    def _session_begin(self) -> NDArray[np.int32]:
        """[E] position of the first event of each event's session."""
        begins = np.flatnonzero(np.diff(self.sessions, prepend=-1)).astype(np.int32)
        return np.repeat(begins, np.diff(begins, append=len(self.sessions)))

    def profile_until(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [B] positions of the first event that the profile does not know before `events`.

        Under next-session a profile is as it was when the session began; else it knows everything
        before the event.
        """
        if self.split != NEXT_SESSION:
            return events
        return self._session_begin[events].astype(np.int64)

    def fingerprint(self) -> str:
        """Name the log by all that training or a split may read of it."""
        hasher = hashlib.sha256()
        for name in ("offsets", *OF_EVENTS, "cold"):
            hasher.update(getattr(self, name).tobytes())
        rest = [self.split, self.order_only, self.categories, self.item_table.rows()]
        hasher.update(json.dumps(rest).encode())
        return hasher.hexdigest()[:_HASH_LENGTH]

    def for_training(self) -> "Prepared":
        """Return the log without the events on cold items: what training may see of it.

        Users and items keep their numbers; a user may have no event. Without cold items it is the
        log itself.
        """
        kept = ~self.cold[self.items]
        if kept.all():
            return self
        before = np.concatenate([[0], np.cumsum(kept)])
        warm = self.take(kept, before[self.offsets])
        return replace(warm, starts=np.diff(warm.sessions, prepend=-1) != 0)

    def take(self, kept: NDArray[np.bool_], offsets: NDArray[np.integer]) -> "Prepared":
        """Return the log with some of its events [E]; `offsets` says which are then whose."""
        of_events = {name: getattr(self, name)[kept] for name in OF_EVENTS}
        return replace(self, offsets=offsets.astype(np.int64), **of_events)


def check_training_targets(prepared: Prepared, events: NDArray[np.integer]) -> None:
    """Refuse to train on what is kept for validation and test.

    `events` are the positions in [0, E) of the events that training is about to predict. Raises
    ValueError naming the first that lies outside of the training set.
    """
    outside = events[prepared.split_of[events] != TRAIN]
    if len(outside):
        event = int(outside[0])
        name = "validation" if prepared.split_of[event] == VALIDATION else "test"
        message = f"{len(outside)} training targets leak, the first being event {event} of the"
        raise ValueError(f"{message} {name} set")


def load_prepared(folder: Path) -> Prepared:
    """Open what `prepare` wrote. Raises DataError naming what is missing or does not fit."""
    if not folder.exists():
        mend(folder)
    if not folder.is_dir():
        raise DataError(f"there is no prepared data at {folder}: no such folder")
    meta = _meta(folder / META)
    events = _table(folder / EVENTS)
    items = _table(folder / ITEMS)
    named = _table(folder / USERS)
    try:
        user_ids = named["user_id"].to_list()
        users = events["user"].to_numpy()
        prepared = Prepared(
            folder=folder,
            split=meta["split"],
            order_only=meta["order_only"],
            offsets=np.searchsorted(users, np.arange(len(user_ids) + 1)).astype(np.int64),
            items=events["item"].to_numpy(),
            actions=events["action"].to_numpy(),
            times_us=events["time_us"].to_numpy(),
            weights=events["weight"].to_numpy(),
            sessions=events["session"].to_numpy(),
            starts=events["session_start"].to_numpy(),
            split_of=events["split"].to_numpy(),
            target=events["target"].to_numpy(),
            cold=items["cold"].to_numpy(),
            item_table=items.drop("cold", "available", strict=False),
            user_ids=user_ids,
            categories=tuple(meta["categories"]),
            meta=meta,
        )
        _check(prepared, users)
    except (KeyError, pl.exceptions.ColumnNotFoundError) as error:
        raise DataError(f"{folder} is not complete, prepare it again: no {error}") from error
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{folder} holds what `prepare` did not write, prepare it again: {error}"
        ) from error
    return prepared


def _meta(path: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path.parent} is no prepared data: it has no {path.name}") from error
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if meta.get("format") != FORMAT:
        found = meta.get("format")
        raise DataError(f"{path.parent} is of format {found}, not {FORMAT}: prepare it again")
    return meta


def _table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path.absolute(), glob=False)
    except FileNotFoundError as error:
        raise DataError(f"{path.parent} is no prepared data: it has no {path.name}") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _check(prepared: Prepared, users: NDArray[np.int32]) -> None:
    """Check that the tables belong together: those of two runs must not be trained on."""
    sizes = (prepared.num_users, prepared.num_items, len(prepared.items))
    due = tuple(prepared.meta.get(f"num_{name}") for name in ("users", "items", "events"))
    sessions = prepared.sessions
    within = len(users) == 0 or (
        bool((np.diff(users) >= 0).all())
        and bool((np.diff(sessions)[np.diff(users) > 0] > 0).all())
        and bool((np.diff(sessions) >= 0).all())
        and int(users[-1]) < prepared.num_users
        and 0 <= int(prepared.items.min()) <= int(prepared.items.max()) < prepared.num_items
    )
    if sizes != due or not within:
        raise DataError(f"the tables of {prepared.folder} do not fit each other: prepare it again")
    check_split_order(prepared)


def check_split_order(prepared: Prepared) -> None:
    """Refuse a log in which a history goes on training after an event that is held out.

    Training reads what lies before its targets: with such a log it would read what it must not
    know. Events on cold items do not count: training reads none of them. Raises DataError naming
    the user's number.
    """
    prepared = prepared.for_training()
    falls = np.flatnonzero(np.diff(prepared.split_of) < 0)
    falls = falls[prepared.users[falls] == prepared.users[falls + 1]]
    if len(falls):
        user = int(prepared.users[falls[0]])
        message = f"user {user} has events of an earlier set after held-out ones"
        raise DataError(f"{prepared.folder} would leak into training: {message}; prepare it again")
