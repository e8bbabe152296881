"""Finds what a text encoder has not read, and puts these items and users on the work lists."""

from functools import partial

from groundswell.profile_service.store.coverage import uncovered_items, uncovered_users
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.statements import Subjects
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.work import WorkList

PAGE = 2_000
"""Items or users that one transaction looks at."""


def uncovered_work(spec: Spec) -> list[tuple[WorkList, Subjects]]:
    """Return the lists of items and of users, each with what the encoder has not read of it.

    The list of users is missing where it reads none.
    """
    items = (WorkList(stale_items), uncovered_items(spec.fingerprint))
    users = (WorkList(stale_users), uncovered_users(spec))
    return [items, users] if spec.reads_histories else [items]


async def mark_uncovered(database: Database, spec: Spec) -> None:
    """Mark every item without a vector of this encoder, and every user with events to cover.

    Each page is a short transaction of its own. Marking twice changes nothing, so an interrupted
    call can simply be made again.
    """
    for work, uncovered in uncovered_work(spec):
        last: int | None = 0
        while last is not None:
            look = partial(page_of_uncovered, uncovered=uncovered, after=last)
            last, versions = await database.read(look)
            if versions:
                await database.write(partial(work.mark, versions=versions, behind=True))


def page_of_uncovered(
    connection: DatabaseConnection, uncovered: Subjects, after: int
) -> tuple[int | None, dict[int, int]]:
    """Look at the page of subjects that follow one.

    Return the last subject of the page, None for an empty page, and the version of each uncovered
    one.
    """
    last = (connection.execute(uncovered.last_of_page(after, PAGE))).scalar_one()
    if last is None:
        return None, {}
    rows = connection.execute(uncovered.between(after, last))
    return last, {row[0]: row[1] for row in rows}
