"""Detects that the database was restored from a backup, and then begins a new lineage."""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from groundswell.profile_service.identity.high_water import DAMAGED, HighWater, Mark
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.identity import (
    Standing,
    Witness,
    holds,
    read_standing,
    renew_lineage,
)
from groundswell.serving.errors import ServiceError
from groundswell.serving.server import StartError
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_AFTER_FAILURE_S = 10.0


class LineageKeeper:
    """Compares the database, at the start and once a second, with its state before.

    The state is written to a file, if one is set, for the next start. A database whose state is
    older than before was restored. It gets a new lineage, so that every service reads it again
    from the start.
    """

    def __init__(self, database: Database, file: Path | None) -> None:
        self._database = database
        self._high_water = HighWater(file)
        self._mark: Mark | None = None
        self._witness: tuple[str, Witness] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Compare once, then start to compare once a second in the background.

        Raises Unavailable, and StartError (HIGH_WATER_UNUSABLE) when the file cannot be written.
        """
        self._mark = await asyncio.to_thread(self._high_water.load)
        await self.look()
        self._task = asyncio.create_task(self._keep_looking())

    async def close(self) -> None:
        """Stop; compare and write the state once more, for the next start."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.look()
        except (ServiceError, StartError) as error:
            _log.warning("lineage_not_compared", reason=error.reason)

    def stored(self, lineage: str, witness: Witness) -> None:
        """Record an event that was committed into the database of a lineage."""
        self._witness = lineage, witness

    async def look(self) -> None:
        """Compare the database with its state before, and write its state now.

        Raises Unavailable, and StartError (HIGH_WATER_UNUSABLE) when that cannot be written.
        """
        mark = self._known()
        witness = None if mark is None else mark.witness

        def compare(connection: DatabaseConnection) -> tuple[Standing, bool]:
            there = witness is None or holds(connection, witness)
            return read_standing(connection), there

        now, holds_witness = await self._database.read(compare)
        if mark is not None and mark.lineage == now.lineage and now.deletions > mark.deletions:
            # The witness may have been deleted: it is no evidence any more.
            mark, self._witness, holds_witness = mark._replace(witness=None), None, True
        if mark is not None and (problem := _problem(mark, now)):
            await begin_lineage(self._database, now.lineage, problem)
        elif mark is not None and mark.lineage == now.lineage and not holds_witness:
            await begin_lineage(self._database, now.lineage, "a stored event is not there any more")
        else:
            await self._note(_moved(mark, now))
            return
        await self._note(_moved(mark, await self._database.read(read_standing)))

    def _known(self) -> Mark | None:
        """Return the mark with the newest event that this process stored."""
        if self._mark is not None and self._witness is not None:
            lineage, witness = self._witness
            if lineage == self._mark.lineage:
                return self._mark._replace(witness=witness)
        return self._mark

    async def _note(self, mark: Mark) -> None:
        if mark != self._mark:
            await asyncio.to_thread(self._high_water.save, mark)
            self._mark = mark

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.look()
            except ServiceError:
                continue
            except Exception as error:  # noqa: BLE001 - it must go on, or it would detect no restore
                count("lineage_looks_failed")
                _log.error("lineage_not_compared", problem=str(error), kind=type(error).__name__)
                await asyncio.sleep(_AFTER_FAILURE_S)


async def begin_lineage(database: Database, before: str, evidence: str) -> None:
    """Give the database a new lineage, unless it is no longer `before`."""
    lineage = await database.write(partial(renew_lineage, before=before))
    count("lineages_begun")
    _log.warning("database_was_restored", evidence=evidence, lineage=lineage)


def _problem(mark: Mark, now: Standing) -> str | None:
    """Return the evidence that the database was restored after the mark was made; None without."""
    if mark == DAMAGED:
        return "what is known of it from before is damaged"
    if now.lineage in mark.past:
        return "it has the lineage of before the last restore"
    if now.lineage != mark.lineage:
        return None
    if now.catalogue_revision < mark.catalogue_revision:
        had = mark.catalogue_revision
        return f"the catalogue had revision {had}, and has {now.catalogue_revision}"
    return "a deletion is undone" if now.deletions < mark.deletions else None


def _moved(mark: Mark | None, now: Standing) -> Mark:
    held = now.catalogue_revision, None, now.deletions
    if mark is None or mark == DAMAGED:
        return Mark(now.lineage, (), *held)
    if mark.lineage == now.lineage:
        revision, deletions = now.catalogue_revision, now.deletions
        return mark._replace(catalogue_revision=revision, deletions=deletions)
    return Mark(now.lineage, (*mark.past, mark.lineage), *held)
