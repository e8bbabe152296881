"""Use cases of staged items: prepare many aside, then show them all at once."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from groundswell.profile_service.catalogue import new_kinds
from groundswell.profile_service.store import items as catalogue
from groundswell.profile_service.store import staged as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.identity import read_standing
from groundswell.profile_service.store.items import ItemContent
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_items
from groundswell.profile_service.store.work import WorkList
from groundswell.serving.errors import InvalidArgument

_MARKED_AT_ONCE = 10_000
_COMMIT_TIMEOUT_S = 600.0


class Committed(NamedTuple):
    """What the commit of a stage changed."""

    num_written: int
    num_deleted: int
    revision: int


class Stages:
    """Named sets of items that nobody sees until they are committed.

    Each is dropped `keep_s` after items were last put into it.
    """

    def __init__(self, database: Database, signals: Signals, *, keep_s: float) -> None:
        self._database = database
        self._keep_us = int(keep_s * 1e6)
        self._signals = signals
        self._stale = WorkList(stale_items)

    async def put(self, stage: str, contents: Sequence[ItemContent]) -> int:
        """Put items into a stage, all or none; return how many it has.

        New items get their numbers and go to the encoder. Raises InvalidArgument
        (ATTRIBUTES_INVALID) for an attribute of another kind than before, in the stage too.
        """
        num_staged = await self._database.write(partial(self._put, stage=stage, contents=contents))
        self._signals.work.notify()
        return num_staged

    async def commit(self, stage: str, *, delete_others: bool) -> Committed:
        """Make the stage's items those of the catalogue, in one transaction.

        Raises NotFound (STAGE_NOT_FOUND), and InvalidArgument (ATTRIBUTES_INVALID) when an
        attribute was written with another kind since it was staged.
        """
        work = partial(self._commit, stage=stage, delete_others=delete_others)
        committed = await self._database.write(work, timeout_s=_COMMIT_TIMEOUT_S)
        self._signals.work.notify()
        self._signals.catalogue.notify()
        return committed

    async def drop(self, stage: str) -> int:
        """Drop a stage; return how many items it had."""
        return await self._database.write(partial(statements.drop, name=stage))

    async def expire(self) -> int:
        """Drop the stages that are over their time; return how many items they had."""
        return await self._database.write(self._expire)

    def _expire(self, connection: DatabaseConnection) -> int:
        # Locked, so that no stage that is found old is put into or committed meanwhile.
        catalogue.lock_revision(connection)
        old = statements.stages_before(connection, now_us() - self._keep_us)
        return sum(statements.drop(connection, name) for name in old)

    def _put(
        self, connection: DatabaseConnection, *, stage: str, contents: Sequence[ItemContent]
    ) -> int:
        # Locked as in an upsert, which may write the same new items.
        revision = catalogue.lock_revision(connection)
        kinds = statements.stage_kinds(connection, stage)
        kinds |= new_kinds(contents, kinds | catalogue.attribute_kind_table(connection))
        statements.set_stage(connection, stage, kinds, now_us())
        known = catalogue.find_items(connection, [one.item_id for one in contents])
        new = [one for one in contents if one.item_id not in known]
        numbers = statements.add_hidden(connection, new)
        self._stale.mark(connection, dict.fromkeys(numbers.values(), revision))
        statements.stage(connection, stage, contents)
        return statements.count_staged(connection, stage)

    def _commit(
        self, connection: DatabaseConnection, *, stage: str, delete_others: bool
    ) -> Committed:
        revision = catalogue.lock_revision(connection)
        statements.check_there(connection, stage)
        _add_kinds(connection, statements.stage_kinds(connection, stage))
        # They keep the vectors of their old texts until the encoder has read the new ones.
        rewritten = statements.rewritten(connection, stage)
        num_written = statements.show(connection, stage, revision)
        revision += num_written
        num_deleted = 0
        if delete_others:
            num_deleted = statements.delete_others(connection, stage, revision)
            revision += num_deleted
        for start in range(0, len(rewritten), _MARKED_AT_ONCE):
            part = rewritten[start : start + _MARKED_AT_ONCE]
            self._stale.mark(connection, dict.fromkeys(part, revision), again=True)
        catalogue.set_revision(connection, revision)
        if num_written or num_deleted:
            statements.set_switch(connection, revision)
        statements.drop(connection, stage)
        return Committed(num_written, num_deleted, read_standing(connection).catalogue_revision)


def _add_kinds(connection: DatabaseConnection, staged: dict[str, str]) -> None:
    """Fix the kinds of a stage's new attributes, those of which others may have fixed meanwhile."""
    known = catalogue.attribute_kind_table(connection)
    for name, kind in staged.items():
        if known.get(name, kind) != kind:
            raise InvalidArgument(
                "ATTRIBUTES_INVALID",
                f"{name} was staged as a {kind}, but was since written as a {known[name]}",
                field="stage",
            )
    catalogue.add_attribute_kinds(connection, {n: k for n, k in staged.items() if n not in known})
