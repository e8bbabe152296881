"""The work lists: stale subjects (users or items), which workers claim under leases.

The newest subjects are claimed first, so that who acts now waits little while many others wait.

All times are the database's (see `statements.now`). A claim whose lease ran out is lost: its worker
ended, perhaps because of the work itself. A subject whose claims were lost twice is claimed alone,
so that others are not lost with it. After five losses it is set aside: it is not claimed again
until it is marked with `again`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Table,
    Update,
    and_,
    case,
    delete,
    func,
    select,
    update,
)

from groundswell.profile_service.store.marks import CLOCK, MARKED, NO_OWNER, mark_statement
from groundswell.profile_service.store.statements import clock_us, given_parameters, now, one_of

SUSPECT = 2
"""After so many lost claims a subject is a suspect, and claimed alone."""
SET_ASIDE = 5
"""After so many lost claims a subject is set aside."""
MAX_DELAY_S = 300.0
"""The longest delay after which a released subject is due again."""
_MAX_LEASE_S = 3600.0
_MAX_UNTRIED_S = 5.0
"""The longest delay of a subject that was never tried: a second after an outage, and room for a
correction of the clock."""


class Claim(NamedTuple):
    """Work that one worker may finish until the lease runs out."""

    owner: str
    versions: dict[int, int]
    """The version of each subject as it was when it was claimed."""
    attempts: dict[int, int]
    """How often each subject has been claimed, this time included."""

    def only(self, subjects: Iterable[int]) -> "Claim":
        """Return the part of the claim with some of its subjects."""
        parts = ({s: numbers[s] for s in subjects} for numbers in (self.versions, self.attempts))
        return Claim(self.owner, *parts)


class WorkLoad(NamedTuple):
    """How much is on a work list."""

    waiting: int
    """Neither claimed nor set aside."""
    claimed: int
    set_aside: int
    oldest_s: float
    """For how long the oldest one that is not set aside has been on the list; 0 without any."""


class WorkList:
    """One table of stale subjects: users or items."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._subject = table.c[table.primary_key.columns.keys()[0]]

    @property
    def name(self) -> str:
        """The name of the table."""
        return self._table.name

    def mark(
        self,
        connection: Connection,
        versions: Mapping[int, int],
        *,
        again: bool = False,
        behind: bool = False,
    ) -> None:
        """Make subjects stale at a version, unless they are at a newer one already.

        With `again`, a subject that was set aside is tried again: its content has changed. With
        `behind`, it waits behind those that are marked without; a later mark moves it before them.
        """
        if not versions:
            return
        statement = mark_statement(connection.dialect.name, self._table, again, behind)
        parameters = given_parameters(sorted(versions.items()), MARKED)
        if connection.dialect.name == "sqlite":
            parameters[CLOCK] = clock_us(connection)
        connection.execute(statement, parameters)

    def claim(
        self,
        connection: Connection,
        owner: str,
        limit: int,
        lease_s: float,
        *,
        suspects: bool = False,
        oldest: bool = False,
        choose: Callable[[dict[int, int]], Sequence[int]] | None = None,
    ) -> Claim:
        """Claim the subjects that became due last, or with `oldest` first; none without any.

        With `suspects`, only suspects are claimed; without it, none of them. `choose` gets the
        versions of at most `limit` subjects in that order, and returns those to be claimed.
        """
        c, time_us = self._table.c, now(connection)
        kind = and_(c.lost_claims >= SUSPECT, c.lost_claims < SET_ASIDE)
        wanted = and_(c.due_us <= time_us, kind if suspects else c.lost_claims < SUSPECT)
        due = (
            select(self._subject, c.version)
            .where(wanted)
            .order_by(c.due_us if oldest else c.due_us.desc())
            .limit(limit)
            # SQLite has no row locks, and needs none: it has one writer.
            .with_for_update(skip_locked=True)
        )
        versions = {row[0]: row[1] for row in connection.execute(due)}
        chosen = versions if choose is None else choose(versions)
        if not chosen:
            return Claim(owner, {}, {})
        values = {"owner": owner, "due_us": _after(time_us, lease_s), "attempt": c.attempt + 1}
        claimed = update(self._table).where(self._subject.in_(chosen)).values(**values)
        attempts = connection.execute(claimed.returning(self._subject, c.attempt))
        of_each = {row[0]: row[1] for row in attempts}
        return Claim(owner, {subject: versions[subject] for subject in chosen}, of_each)

    def recover(self, connection: Connection, lease_s: float, *, alone: bool = False) -> list[int]:
        """End the lost claims, and return the subjects that are now set aside.

        With `alone` every claim is lost: no other process works. Also make subjects due whose due
        time is too far away: a wrong clock wrote it.
        """
        c, time_us = self._table.c, now(connection)
        too_far = self._locked(self._waits_too_long(time_us, lease_s), skip_locked=True)
        connection.execute(self._change(too_far, {"due_us": time_us, "marked_us": time_us}))
        over = c.owner != NO_OWNER if alone else and_(c.owner != NO_OWNER, c.due_us <= time_us)
        values = {"owner": NO_OWNER, "due_us": time_us, "lost_claims": c.lost_claims + 1}
        lost = self._change(self._locked(over, skip_locked=True), values)
        rows = connection.execute(lost.returning(self._subject, c.lost_claims))
        return [row[0] for row in rows if row[1] == SET_ASIDE]

    def lock(self, connection: Connection, subjects: Collection[int]) -> None:
        """Lock the rows of some subjects until the end of the transaction."""
        mine = one_of(connection.dialect.name, self._subject, subjects)
        statement = select(self._subject).where(mine)
        connection.execute(statement.order_by(self._subject).with_for_update())

    def renew(self, connection: Connection, claim: Claim, lease_s: float) -> None:
        """Renew the lease of the subjects that the claim still holds."""
        values = {"due_us": _after(now(connection), lease_s)}
        connection.execute(self._change(self._locked(self._held_by(claim)), values))

    def still_held(
        self, connection: Connection, claim: Claim, subjects: Collection[int]
    ) -> dict[int, int]:
        """Return the versions of those `subjects` that the claim still holds, locked until the end.

        A version above the claim's says that the subject changed meanwhile.
        """
        statement = (
            select(self._subject, self._table.c.version)
            .where(self._subject.in_(subjects), self._table.c.owner == claim.owner)
            .order_by(self._subject)
            .with_for_update()
        )
        return {row[0]: row[1] for row in connection.execute(statement)}

    def finish(self, connection: Connection, claim: Claim, covered: Mapping[int, int]) -> None:
        """Take the subjects off the list that are covered up to their version.

        A subject that changed meanwhile stays on the list and is due at once, as if marked now.
        """
        if not covered:
            return
        held = self.still_held(connection, claim, covered)
        done = [subject for subject, version in held.items() if version <= covered[subject]]
        connection.execute(delete(self._table).where(self._subject.in_(done)))
        changed = held.keys() - done
        if changed:
            time_us = now(connection)
            fresh = {"owner": NO_OWNER, "due_us": time_us, "marked_us": time_us}
            again = update(self._table).where(self._subject.in_(changed))
            connection.execute(again.values(**fresh, attempt=0, lost_claims=0))

    def release(
        self, connection: Connection, claim: Claim, delay_s: float, *, counts: bool
    ) -> None:
        """Release a claim; its subjects are due again after a delay.

        Unless it `counts`, the attempt is not counted: the subjects were not the cause.
        """
        self._release(connection, self._held_by(claim), min(delay_s, MAX_DELAY_S), counts=counts)

    def release_all(self, connection: Connection, owner: str) -> None:
        """Release all that a worker holds, without counting the attempts."""
        self._release(connection, self._table.c.owner == owner, 0.0, counts=False)

    def waiting(self, connection: Connection, subjects: Collection[int]) -> set[int]:
        """Return those of the subjects that are on the list."""
        statement = select(self._subject).where(self._subject.in_(subjects))
        return {row[0] for row in connection.execute(statement)}

    def newest_mark(self, connection: Connection) -> int:
        """Return the latest time at which anything that waits was marked; 0 without any."""
        newest = connection.execute(select(func.max(self._table.c.marked_us)))
        return newest.scalar_one() or 0

    def state(self, connection: Connection) -> tuple[int, ...]:
        """Return numbers; at least one of them changes whenever a `count` may change."""
        columns = self._table.c
        statement = select(
            func.count(),
            # A sum of the times themselves would not fit.
            func.coalesce(func.sum(columns.marked_us % 1_000_003), 0),
            func.coalesce(func.sum(columns.attempt), 0),
            func.coalesce(func.sum(columns.lost_claims), 0),
        )
        row = (connection.execute(statement.select_from(self._table))).one()
        return tuple(int(value) for value in row)

    def count(
        self,
        connection: Connection,
        marked_until_us: int,
        subjects: Collection[int] | None = None,
        max_attempts: int | None = None,
    ) -> int:
        """Count the waiting subjects that were marked up to a time; only `subjects` when given.

        Subjects that are set aside do not count, nor, with `max_attempts`, those with so many
        attempts.
        """
        statement = select(func.count()).where(
            self._table.c.marked_us <= marked_until_us, self._table.c.lost_claims < SET_ASIDE
        )
        if subjects is not None:
            statement = statement.where(self._subject.in_(subjects))
        if max_attempts is not None:
            statement = statement.where(self._table.c.attempt < max_attempts)
        return (connection.execute(statement.select_from(self._table))).scalar_one()

    def load(self, connection: Connection) -> WorkLoad:
        """Return how much is on the list."""
        c, num = self._table.c, func.count()
        is_active, is_free = c.lost_claims < SET_ASIDE, c.owner == NO_OWNER
        numbers = (num.filter(is_active, is_free), num.filter(is_active, ~is_free))
        oldest_us = now(connection) - func.min(c.marked_us).filter(is_active)
        statement = select(*numbers, num.filter(~is_active), oldest_us)
        row = connection.execute(statement.select_from(self._table)).one()
        return WorkLoad(row[0], row[1], row[2], max(row[3] or 0, 0) / 1e6)

    def _waits_too_long(self, time_us: ColumnElement[int], lease_s: float) -> ColumnElement[bool]:
        c = self._table.c
        longest = case(
            (c.owner != NO_OWNER, _after(time_us, max(lease_s, _MAX_LEASE_S))),
            (c.attempt > 0, _after(time_us, MAX_DELAY_S)),
            else_=_after(time_us, _MAX_UNTRIED_S),
        )
        # The first condition is for the index: few rows are due later than that.
        return and_(c.due_us > _after(time_us, _MAX_UNTRIED_S), c.due_us > longest)

    def _release(
        self, connection: Connection, held: ColumnElement[bool], delay_s: float, *, counts: bool
    ) -> None:
        values: dict[str, object] = {
            "owner": NO_OWNER,
            "due_us": _after(now(connection), delay_s),
        }
        if not counts:
            values["attempt"] = self._table.c.attempt - 1
        connection.execute(self._change(self._locked(held), values))

    def _held_by(self, claim: Claim) -> ColumnElement[bool]:
        return and_(self._subject.in_(claim.versions), self._table.c.owner == claim.owner)

    def _locked(self, which: ColumnElement[bool], *, skip_locked: bool = False) -> CTE:
        """The subjects of some rows, locked in the order that all transactions use."""
        statement = select(self._subject).where(which).order_by(self._subject)
        return statement.with_for_update(skip_locked=skip_locked).cte("locked")

    def _change(self, chosen: CTE, values: Mapping[str, object]) -> Update:
        subjects = select(chosen.c[self._subject.name])
        return update(self._table).where(self._subject.in_(subjects)).values(**values)


def _after(time_us: ColumnElement[int], seconds: float) -> ColumnElement[int]:
    return time_us + int(seconds * 1e6)
