"""The work lists: what is stale, claimed under leases that a dead worker cannot hold."""

import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Select, Table, bindparam, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.statements import insert

_NOBODY = ""


class Claim(NamedTuple):
    """Work that one worker may finish until the lease runs out."""

    owner: str
    versions: dict[int, int]
    """The version of each subject as it was when it was claimed."""
    attempts: dict[int, int]
    """How often each subject has been claimed, this time included."""


class WorkList:
    """One table of stale subjects: users or items."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._subject = table.c[table.primary_key.columns.keys()[0]]

    async def mark(self, connection: AsyncConnection, versions: Mapping[int, int]) -> None:
        """Make subjects stale at a version, in the transaction that changed them."""
        if not versions:
            return
        now = now_us()
        statement = insert(connection, self._table)
        statement = statement.on_conflict_do_update(
            index_elements=[self._subject], set_={"version": statement.excluded.version}
        )
        fresh = {"marked_us": now, "due_us": now, "owner": _NOBODY, "attempt": 0}
        rows = [
            {self._subject.name: subject, "version": version, **fresh}
            for subject, version in sorted(versions.items())
        ]
        await connection.execute(statement, rows)

    async def mark_all(self, connection: AsyncConnection, stale: Select[tuple[int, int]]) -> None:
        """Make every (subject, version) that a statement selects stale."""
        now = now_us()
        fresh = (literal(now), literal(now), literal(_NOBODY), literal(0))
        statement = insert(connection, self._table).from_select(
            [self._subject.name, "version", "marked_us", "due_us", "owner", "attempt"],
            stale.add_columns(*fresh),
        )
        statement = statement.on_conflict_do_update(
            index_elements=[self._subject], set_={"version": statement.excluded.version}
        )
        await connection.execute(statement)

    async def claim(self, connection: AsyncConnection, limit: int, lease_s: float) -> Claim:
        """Claim the subjects that have been due longest; none when there are none."""
        now = now_us()
        due = (
            select(self._subject)
            .where(self._table.c.due_us <= now)
            .order_by(self._table.c.due_us)
            .limit(limit)
            # SQLite has no row locks, and needs none: it has one writer.
            .with_for_update(skip_locked=True)
            # As a plain subquery PostgreSQL may run it more than once, and so claim too much.
            .cte("due")
        )
        owner = uuid.uuid4().hex
        statement = (
            update(self._table)
            .where(self._subject.in_(select(due.c[self._subject.name])))
            .values(
                owner=owner,
                due_us=now + int(lease_s * 1e6),
                attempt=self._table.c.attempt + 1,
            )
            .returning(self._subject, self._table.c.version, self._table.c.attempt)
        )
        rows = (await connection.execute(statement)).all()
        return Claim(owner, {r[0]: r[1] for r in rows}, {r[0]: r[2] for r in rows})

    async def free(self, connection: AsyncConnection) -> None:
        """End every claim: nobody works."""
        held = update(self._table).where(self._table.c.owner != _NOBODY)
        await connection.execute(held.values(owner=_NOBODY, due_us=now_us()))

    async def renew(self, connection: AsyncConnection, claim: Claim, lease_s: float) -> None:
        """Begin the lease of what the claim still holds anew."""
        statement = (
            update(self._table)
            .where(self._subject.in_(claim.versions), self._table.c.owner == claim.owner)
            .values(due_us=now_us() + int(lease_s * 1e6))
        )
        await connection.execute(statement)

    async def still_held(
        self, connection: AsyncConnection, claim: Claim, subjects: Collection[int]
    ) -> dict[int, int]:
        """Return the versions of those `subjects` that the claim still holds, locked until the end.

        A version that is newer than the claim's says that the subject changed meanwhile.
        """
        statement = (
            select(self._subject, self._table.c.version)
            .where(self._subject.in_(subjects), self._table.c.owner == claim.owner)
            .order_by(self._subject)
            .with_for_update()
        )
        return {row[0]: row[1] for row in await connection.execute(statement)}

    async def finish(
        self, connection: AsyncConnection, claim: Claim, covered: Mapping[int, int]
    ) -> None:
        """Take subjects off the list that are covered up to their version.

        One that became staler meanwhile stays, due at once, as if marked now.
        """
        if not covered:
            return
        mine = (self._subject == bindparam("subject"), self._table.c.owner == claim.owner)
        rows = [{"subject": s, "covered": version} for s, version in sorted(covered.items())]
        done = delete(self._table).where(*mine, self._table.c.version <= bindparam("covered"))
        await connection.execute(done, rows)
        now = now_us()
        again = update(self._table).where(*mine)
        again = again.values(owner=_NOBODY, due_us=now, marked_us=now, attempt=0)
        await connection.execute(again, [{"subject": s} for s in sorted(covered)])

    async def release(
        self, connection: AsyncConnection, claim: Claim, subjects: Iterable[int], delay_s: float
    ) -> None:
        """Give subjects back, to be claimed again after a while."""
        statement = (
            update(self._table)
            .where(self._subject.in_(list(subjects)), self._table.c.owner == claim.owner)
            .values(owner=_NOBODY, due_us=now_us() + int(delay_s * 1e6))
        )
        await connection.execute(statement)

    async def newest_mark(self, connection: AsyncConnection) -> int:
        """Return the latest time at which anything that waits was marked; 0 without any."""
        newest = await connection.execute(select(func.max(self._table.c.marked_us)))
        return newest.scalar_one() or 0

    async def state(self, connection: AsyncConnection) -> tuple[int, ...]:
        """Return numbers of which one changes whenever a `count` may change."""
        columns = self._table.c
        statement = select(
            func.count(),
            # A sum of the times themselves would not fit.
            func.coalesce(func.sum(columns.marked_us % 1_000_003), 0),
            func.coalesce(func.sum(columns.attempt), 0),
        )
        row = (await connection.execute(statement.select_from(self._table))).one()
        return tuple(int(value) for value in row)

    async def count(
        self,
        connection: AsyncConnection,
        marked_until_us: int,
        subjects: Collection[int] | None = None,
        max_attempts: int | None = None,
    ) -> int:
        """Count what was marked by then and still waits, of `subjects` alone when given.

        With `max_attempts`, without what was tried as often.
        """
        statement = select(func.count()).where(self._table.c.marked_us <= marked_until_us)
        if subjects is not None:
            statement = statement.where(self._subject.in_(subjects))
        if max_attempts is not None:
            statement = statement.where(self._table.c.attempt < max_attempts)
        return (await connection.execute(statement.select_from(self._table))).scalar_one()
