"""Leaves out events and items that look wrong, where asked for, and lists the reason for each."""

from dataclasses import dataclass

import polars as pl

from groundswell.logs.events import Events
from groundswell.logs.items import Items
from groundswell.trainer.dataset.anomalies import Anomalies
from groundswell.trainer.errors import DataError


@dataclass(frozen=True)
class Filters:
    """Which anomalies are left out; none by default, since none is proven to be wrong."""

    duplicates: bool = False
    impossible_times: bool = False
    bots: bool = False
    without_text: bool = False

    @property
    def names(self) -> list[str]:
        """The filters that are on."""
        return [name for name, on in vars(self).items() if on]


def apply_filters(
    log: Events, catalogue: Items, anomalies: Anomalies, filters: Filters
) -> tuple[Events, Items]:
    """Return the log and the catalogue without what the filters leave out.

    Each row left out is listed with the first reason that holds. Raises DataError when no event
    remains.
    """
    if not filters.names:
        return log, catalogue
    reasons = [getattr(anomalies, name).alias(name) for name in filters.names]
    frame = log.frame.with_columns(
        reason=pl.DataFrame(reasons).select(pl.coalesce("*")).to_series()
    )
    kept, gone = _parted(frame)
    if kept.height == 0:
        raise DataError(f"no event is left when {', '.join(filters.names)} are left out")
    log = log._replace(frame=kept, left_out=pl.concat([log.left_out, gone]).sort("line"))
    if filters.without_text:
        kept, gone = _parted(catalogue.frame.with_columns(reason=anomalies.items_without_text))
        left_out = pl.concat([catalogue.left_out, gone]).sort("line")
        catalogue = catalogue._replace(frame=kept, left_out=left_out)
    return log, catalogue


def _parted(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows without a reason, and line and reason of the others."""
    kept = frame.filter(pl.col("reason").is_null()).drop("reason")
    return kept, frame.drop_nulls("reason").select("line", "reason")
