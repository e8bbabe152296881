"""Numbers the sessions of a log, and orders its events so that each session is contiguous."""

from datetime import timedelta

import polars as pl

from groundswell.features.window import SESSION_GAP_US

DEFAULT_GAP = timedelta(microseconds=SESSION_GAP_US)
"""The gap of the services: with another one training and serving cut sessions differently."""


def by_session(ordered: pl.DataFrame, gap: timedelta | None) -> pl.DataFrame:
    """Number the sessions of a log and make each one contiguous.

    A session is what shares a session_id, however long it pauses. Events without an id belong to
    the session before them, or else to the one after them, unless a gap parts them; where no id is
    near, gaps alone part sessions. So do the services, which see the events of one user in the
    order of time, as long as the sessions of that user do not overlap.

    `ordered` has user, time_us and session_id and is sorted by (user, time, ordinal, event id).
    Without a `gap` (a log whose times are only positions) session ids alone part sessions. Returns
    it with `session` (int32, ascending) and `session_start` (bool), sorted by (user, the session's
    start, its first row, time, ordinal, event id): where sessions do not overlap nothing moves.
    """
    changes = pl.col("user") != pl.col("user").shift(1)
    if gap is not None:
        changes |= pl.col("time_us").diff() > gap // timedelta(microseconds=1)
    index = pl.int_range(pl.len(), dtype=pl.Int64)
    marked = ordered.with_columns(
        changes.fill_null(True).cast(pl.Int64).cum_sum().alias("run"), index.alias("index")
    )
    marked = marked.with_columns(first=_first_event(marked))
    return marked.sort("first", "index").select(
        pl.all().exclude("run", "index", "first"),
        session=pl.col("first").rle_id().cast(pl.Int32),
        session_start=(pl.col("first") != pl.col("first").shift(1)).fill_null(True),
    )


def _first_event(marked: pl.DataFrame) -> pl.Series:
    """Return for each event the `index` of the first one of its session."""
    if not (marked["session_id"] != "").any():
        return marked.select(pl.col("index").first().over("run")).to_series()
    same_id = pl.col("index").first().over("user", "session_id")
    named = marked.with_columns(named=pl.when(pl.col("session_id") != "").then(same_id))
    label = named.select(
        "index",
        label=pl.coalesce(
            "named",
            pl.col("named").forward_fill().over("run"),
            pl.col("named").backward_fill().over("run"),
            # No event of the run has an id, so no label is an event of it.
            pl.col("index").first().over("run"),
        ),
    )
    return label.select(pl.col("index").min().over("label")).to_series()
