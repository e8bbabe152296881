"""Puts on the work lists, page by page, what an encoder has never read or does not cover."""

from functools import partial

from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.items import items_without_text
from groundswell.profile_service.store.profiles import Spec, uncovered_users
from groundswell.profile_service.store.statements import Subjects
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.tables import stale_items, stale_users

PAGE = 2_000
"""Items or users that are looked at in one transaction."""


async def mark_uncovered(database: Database, spec: Spec) -> None:
    """Mark every item without a vector of this encoder, and every user with events to cover.

    Each page is a short transaction of its own. Marking twice changes nothing, so whoever is
    interrupted begins again.
    """
    for work, uncovered in (
        (WorkList(stale_items), items_without_text(spec.fingerprint)),
        (WorkList(stale_users), uncovered_users(spec)),
    ):
        last: int | None = 0
        while last is not None:
            last, versions = await database.read(partial(_look, uncovered=uncovered, after=last))
            if versions:
                await database.write(partial(work.mark, versions=versions))


async def _look(
    connection: DatabaseConnection, uncovered: Subjects, after: int
) -> tuple[int | None, dict[int, int]]:
    """Return the last subject of the page after one, None without any, and the uncovered ones."""
    last = (await connection.execute(uncovered.last_of_page(after, PAGE))).scalar_one()
    if last is None:
        return None, {}
    rows = await connection.execute(uncovered.between(after, last))
    return last, {row[0]: row[1] for row in rows}
