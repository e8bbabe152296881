"""Writes that come late, or again, bring no pseudonym of an erased user or session back."""

from sqlalchemy import select

from groundswell.profile_service.outcomes.lists import ShownLists
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.tables import users
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from tests.integration.profile_service.rights.test_erasures import (
    VISIT,
    a_list,
    erasures_of,
    fill,
    listed,
    statuses,
)
from tests.integration.profile_service.support import Memory, an_event, reading
from tests.integration.profile_service.test_visitors import visitors
from tests.support.processes import SECRET

OTHER, NEW = (subject_id("", name) for name in ("other", "new"))


async def stored(memory: Memory) -> set[str]:
    """Whose pseudonyms are in the database."""
    key = Pseudonymizer(SECRET).user_key
    async with reading(memory.database) as connection:
        keys = set((await connection.execute(select(users.c.user_key))).scalars())
    return {name for name in ("ann", "bob", "eve", VISIT, OTHER, NEW) if key(name) in keys}


async def test_a_late_link_stores_neither_an_erased_user_nor_an_erased_session(
    memory: Memory,
) -> None:
    await fill(memory)
    await memory.log.append([an_event(3, user=OTHER)])
    await erasures_of(memory).erase("ann")
    links = visitors(memory)
    assert await links.link("visit", "ann") == 0  # again
    assert await links.link("never seen", "ann") == 0
    assert await links.link("visit", "eve") == 0
    assert await stored(memory) == {"bob", OTHER}
    # The session had all its events before the erasure of its user, and is told of only now.
    assert await links.link("other", "ann") == 0
    assert await stored(memory) == {"bob"}


async def test_a_link_of_a_user_who_has_come_back_is_kept(memory: Memory) -> None:
    await fill(memory)
    await erasures_of(memory).erase("ann")
    links = visitors(memory)
    await memory.log.append([an_event(8, user=NEW, time=now_us())])
    assert await links.link("new", "ann") == 1
    assert await links.link("visit", "ann") == 0
    assert await stored(memory) == {"ann", "bob", NEW}
    assert await statuses(memory, an_event(8, user=NEW, time=now_us())) == ["EVENT_ID_CONFLICT"]
    assert await listed(memory, "ann") == ["e8"]


async def test_a_list_that_is_refused_stores_no_user(memory: Memory) -> None:
    await fill(memory)
    await erasures_of(memory).erase("ann")
    lists = ShownLists(memory.database, Pseudonymizer(SECRET), keep_s=3600)
    await lists.store([a_list(who)._replace(lineage="of before") for who in ("ann", VISIT)])
    assert await stored(memory) == {"bob"}
