"""Measures how much is on the work lists, four times a minute."""

import asyncio

from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.worker.every_encoder import OUTAGES
from groundswell.serving.telemetry import count, gauge

_EVERY_S = 15.0
_LISTS = tuple(map(WorkList, (stale_users, stale_items)))


async def measure_load(database: Database) -> None:
    """Set the gauges `stale_subjects` and `stale_oldest_seconds` of each list for ever."""
    while True:
        try:
            loads = await database.read(lambda c: [one.load(c) for one in _LISTS])
        except OUTAGES:
            count("stale_subjects_unread")
        else:
            for one, load in zip(_LISTS, loads, strict=True):
                for state in ("waiting", "claimed", "set_aside"):
                    gauge("stale_subjects", getattr(load, state), list=one.name, state=state)
                gauge("stale_oldest_seconds", load.oldest_s, list=one.name)
        await asyncio.sleep(_EVERY_S)
