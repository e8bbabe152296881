"""A prepared log made in memory, event by event."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from groundswell.features.actions import DISLIKE, action_number
from groundswell.features.window import session_starts
from groundswell.trainer.dataset.prepared import TEST, TRAIN, VALIDATION, Prepared

MINUTE_US = 60 * 1_000_000


def prepared_of(
    histories: Sequence[Sequence[int]],
    *,
    minutes: Sequence[Sequence[float]] | None = None,
    actions: Sequence[Sequence[str]] | None = None,
    held_out: Sequence[tuple[int, ...]] = (),
    order_only: bool = False,
    num_items: int | None = None,
) -> Prepared:
    """A log of each user's items, a minute apart unless `minutes` says when.

    `held_out` gives for each user the split of the last events, such as (1, 2).
    """
    lengths = [len(history) for history in histories]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    given = minutes or [range(length) for length in lengths]
    times = [np.array(when, np.float64) * MINUTE_US for when in given]
    split = np.full(offsets[-1], TRAIN, np.int8)
    for user, values in enumerate(held_out):
        end = offsets[user + 1]
        split[end - len(values) : end] = values
    names = actions or [["view"] * length for length in lengths]
    items = np.concatenate([*map(np.asarray, histories), []]).astype(np.int32)
    count = int(items.max(initial=-1)) + 1 if num_items is None else num_items
    starts = np.concatenate([*(session_starts(when.astype(np.int64)) for when in times), []])
    numbers = np.array([action_number(n) for row in names for n in row], np.int8)
    return Prepared(
        folder=Path("nowhere"),
        split="leave-one-out",
        order_only=order_only,
        offsets=offsets,
        items=items,
        actions=numbers,
        times_us=np.concatenate([*times, []]).astype(np.int64),
        weights=(numbers != DISLIKE).astype(np.float32),
        sessions=np.cumsum(starts).astype(np.int32) - 1,
        starts=starts.astype(bool),
        split_of=split,
        target=split.copy(),
        cold=np.zeros(count, bool),
        item_table=pl.DataFrame(
            {
                "item_id": [f"item-{n}" for n in range(count)],
                "title": [f"Title {n}" for n in range(count)],
                "description": [""] * count,
                "categories": [["even" if n % 2 == 0 else "odd"] for n in range(count)],
                "attributes": ["{}"] * count,
            }
        ),
        user_ids=[f"user-{n}" for n in range(len(lengths))],
        categories=("even", "odd"),
        meta={},
    )


HELD_OUT = (VALIDATION, TEST)
"""The last two events of a history, kept out of training."""


def random_log(users: int = 60, items: int = 30) -> Prepared:
    """A log of random histories, always the same; two more items have no event."""
    rng = np.random.default_rng(1)
    histories = [rng.integers(items, size=rng.integers(4, 45)).tolist() for _ in range(users)]
    return prepared_of(histories, held_out=[HELD_OUT] * users, num_items=items + 2)
