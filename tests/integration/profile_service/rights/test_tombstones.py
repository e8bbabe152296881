"""Tombstones of a file reach the sessions of a database that was restored."""

from pathlib import Path

from groundswell.profile_service.rights.tombstone_file import TombstoneFile
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.erasures import Tombstone
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from tests.integration.profile_service.rights.test_erasures import erasures_of, listed
from tests.integration.profile_service.support import Memory, an_event, an_item
from tests.integration.profile_service.test_visitors import visitors
from tests.support.processes import SECRET


async def test_they_are_applied_in_the_order_of_their_times(memory: Memory, tmp_path: Path) -> None:
    """Sessions of ann were erased, and went on, before ann was: no longer as sessions of hers."""
    file, now = tmp_path / "tombstones", now_us()
    mark = Pseudonymizer(SECRET).mark
    await memory.catalogue.upsert([an_item("a")])
    visits = [f"visit-{n}" for n in range(6)]
    tombstones = [Tombstone(mark("ann"), "c" * 32, now + 1)]
    for n, visit in enumerate(visits):
        session = subject_id("", visit)
        await memory.log.append([an_event(n, user=session)])
        await visitors(memory).link(visit, "ann")
        await memory.log.append([an_event(n + 50, user=session, time=now)])
        tombstones.append(Tombstone(mark(session), f"{n:032}", now - 1))
    TombstoneFile(file).add(tombstones)
    erasures = erasures_of(memory, file)
    await erasures.start()
    assert await listed(memory, "ann") == []
    for n, visit in enumerate(visits):
        assert await listed(memory, subject_id("", visit)) == [f"e{n + 50}"]
    # They are sessions still: each expires.
    assert await visitors(memory, keep_s=-1).expire() == len(visits)
    await erasures.close()
