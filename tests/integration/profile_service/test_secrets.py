"""A wrong secret is refused, and after a change of the secret every user is found."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import text

from groundswell.profile_service.event_batch import AppendOutcome, Status
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.identity import secret_keys
from groundswell.profile_service.identity.secret_keys import check_secrets, is_rotated, rotate
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.identity import read_identity, set_secret_checks
from groundswell.profile_service.store.tables import users
from groundswell.profile_service.store.users import count_users, find_users, make_users
from groundswell.serving.errors import FailedPrecondition
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import StartError
from tests.integration.profile_service.support import (
    DAY_S,
    Memory,
    an_event,
    an_item,
    reading,
    writing,
)
from tests.support.processes import SECRET, Process

NEWER, NEWEST = "another secret of the tests", "the newest secret of the tests"
USERS = [f"user-{n}" for n in range(25)]
EVENTS = list(range(1, 26))  # how many each of them has
OLD, BOTH = Pseudonymizer(SECRET), Pseudonymizer(SECRET, NEWER)


class Killed(BaseException):
    """Stands for the end of the process that rewrites."""


def log_with(memory: Memory, *secrets: str) -> EventStore:
    """The log as a process with these secrets has it."""
    return EventStore(memory.database, Pseudonymizer(*secrets), memory.signals, max_future_s=DAY_S)


async def fill(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store users with as many events as `EVENTS` says; a rotation takes three at a time."""
    monkeypatch.setattr(secret_keys, "_PAGE", 3)
    await memory.catalogue.upsert([an_item("a")])
    await check_secrets(memory.database, OLD)
    for n, user in enumerate(USERS):
        await memory.log.append([an_event(k, user=user) for k in range(n + 1)])


@pytest.fixture
async def filled(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> Memory:
    await fill(memory, monkeypatch)
    return memory


async def numbers_of_events(log: EventStore) -> list[int]:
    return [(await log.list(user, None, 1)).last_sequence for user in USERS]


async def num_users(database: Database, under: int = 2) -> tuple[int, int]:
    """How many users there are, and how many are under an older secret than the last of them."""
    async with reading(database) as connection:
        return await connection.run(count_users, under)


async def num_rewritten(database: Database) -> int:
    total, older = await num_users(database)
    return total - older


def nobody(done: int, of: int) -> None:
    """Is told of the progress."""


def die_at_12(done: int, of: int) -> None:  # noqa: ARG001 - the shape of who is told
    if done >= 12:
        raise Killed


async def test_another_secret_is_refused_and_the_right_one_is_taken(memory: Memory) -> None:
    await check_secrets(memory.database, OLD)
    await check_secrets(memory.database, OLD)
    with pytest.raises(StartError, match="GROUNDSWELL_SECRET is not the secret") as caught:
        await check_secrets(memory.database, Pseudonymizer(NEWER))
    assert caught.value.reason == "SECRET_CHANGED"
    with pytest.raises(StartError, match="GROUNDSWELL_PREVIOUS_SECRETS is not"):
        await check_secrets(memory.database, Pseudonymizer(NEWER, SECRET))


async def test_a_secret_that_replaced_the_databases_one_must_come_with_it(memory: Memory) -> None:
    await check_secrets(memory.database, BOTH)
    with pytest.raises(StartError, match="2 secrets, and this process has 1"):
        await check_secrets(memory.database, OLD)
    with pytest.raises(StartError, match="GROUNDSWELL_SECRET is not"):
        await check_secrets(memory.database, Pseudonymizer(NEWER))


async def test_a_database_of_an_earlier_release_learns_the_secret_that_its_keys_are_of(
    filled: Memory,
) -> None:
    async with writing(filled.database) as connection:
        await connection.run(set_secret_checks, [])
    await check_secrets(filled.database, BOTH)
    # The second is not in use yet: a process that lacks it goes on.
    await check_secrets(filled.database, OLD)
    assert await numbers_of_events(log_with(filled, SECRET, NEWER)) == EVENTS


async def test_processes_with_the_newer_secret_serve_before_during_and_after_the_rotation(
    filled: Memory,
) -> None:
    log = log_with(filled, SECRET, NEWER)
    assert await numbers_of_events(log) == EVENTS
    told: list[tuple[int, int]] = []
    num_told = await rotate(filled.database, BOTH, lambda *step: told.append(step))
    assert num_told == len(USERS)
    assert (told[0], told[-1]) == ((0, 25), (25, 25))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert await num_users(filled.database) == (25, 0)
    assert await numbers_of_events(log) == EVENTS
    # With the new secret alone nobody would be found: the chain begins with the old one.
    assert sum(await numbers_of_events(log_with(filled, "x" * 16, NEWER))) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_a_rotation_that_is_ended_again_and_again_goes_on_to_its_end(
    filled: Memory, seed: int
) -> None:
    chance = random.Random(seed)
    log = log_with(filled, SECRET, NEWER)
    sequences = [*EVENTS]

    def perhaps_die(done: int, of: int) -> None:
        if done < of and chance.random() < 0.5:
            raise Killed

    while not await is_rotated(filled.database, BOTH):
        try:
            await rotate(filled.database, BOTH, perhaps_die)
        except Killed:
            place = chance.randrange(len(USERS))
            event = an_event(1_000 + chance.randrange(10**6), user=USERS[place])
            assert [o.status for o in await log.append([event])] == [Status.ACCEPTED]
            sequences[place] += 1
            assert await numbers_of_events(log) == sequences
    assert await num_users(filled.database) == (25, 0)
    assert await numbers_of_events(log) == sequences


async def test_secrets_can_be_changed_again_while_rows_of_the_first_are_left(
    filled: Memory,
) -> None:
    with pytest.raises(Killed):
        await rotate(filled.database, BOTH, die_at_12)
    chain = SECRET, NEWER, NEWEST
    await rotate(filled.database, Pseudonymizer(*chain), nobody)
    assert await numbers_of_events(log_with(filled, *chain)) == EVENTS
    assert await num_users(filled.database, under=3) == (25, 0)


async def test_as_many_users_as_a_call_may_name_are_found_under_any_number_of_secrets(
    filled: Memory,
) -> None:
    chain = Pseudonymizer(SECRET, NEWER, NEWEST, "a fourth secret of the tests")
    names = [f"nobody-{n}" for n in range(10_000 - len(USERS))] + USERS
    async with reading(filled.database) as connection:
        found, _ = await connection.run(find_users, [chain.user_keys(name) for name in names])
    assert len(found) == len(USERS)


async def test_a_process_that_lacks_the_newest_secret_is_refused_and_makes_nobody_twice(
    filled: Memory,
) -> None:
    with pytest.raises(Killed):
        await rotate(filled.database, BOTH, die_at_12)
    old = log_with(filled, SECRET)
    for user in (*USERS, "somebody new"):
        with pytest.raises(FailedPrecondition) as caught:
            await old.append([an_event(1, user=user)])
        assert caught.value.reason == "SECRET_OUTDATED"
        with pytest.raises(FailedPrecondition):
            await old.list(user, None, 1)
    assert await num_users(filled.database) == (25, 13)


async def test_writers_in_two_processes_and_a_rotation_lose_and_double_nothing(
    memory_on_postgres: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new users, and one writer whose secret becomes outdated on the way."""
    memory = memory_on_postgres
    await fill(memory, monkeypatch)
    logs = [log_with(memory, SECRET, NEWER), log_with(memory, SECRET, NEWER)]
    outdated = log_with(memory, SECRET)
    accepted: Counter[str] = Counter(dict(zip(USERS, range(1, 26), strict=True)))
    rotated = asyncio.Event()

    async def write(number: int, log: EventStore) -> None:
        chance, n = random.Random(number), 0
        while not rotated.is_set() or n < 40:
            n += 1
            names = {f"new-{chance.randrange(300)}" for _ in range(3)} | {chance.choice(USERS)}
            events = [an_event(10_000 * (number + 1) + n, user=user) for user in names]
            try:
                outcomes: list[AppendOutcome] = await log.append(events)
            except FailedPrecondition:
                assert log is outdated
                return
            assert {outcome.status for outcome in outcomes} == {Status.ACCEPTED}
            accepted.update(names)

    async def change() -> None:
        await asyncio.sleep(0.1)
        await rotate(memory.database, BOTH, nobody)
        rotated.set()

    writers = [write(n, log) for n, log in enumerate([*logs, *logs, outdated, outdated])]
    await asyncio.gather(change(), *writers)
    assert await num_users(memory.database) == (len(accepted), 0)
    for user, number in accepted.items():
        assert (await logs[0].list(user, None, 1)).last_sequence == number


async def test_a_user_stored_while_a_writer_waits_for_the_secrets_is_stored_once(
    memory_on_postgres: Memory,
) -> None:
    """The writer looked before the user was there, and stores new users under a newer secret."""
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item("a")])
    await check_secrets(memory.database, OLD)
    async with writing(memory.database) as connection:
        identity = await connection.run(read_identity)
        assert await connection.run(make_users, [BOTH.user_keys("ann")], identity)
        rotation = asyncio.create_task(rotate(memory.database, BOTH, nobody))
        await waiting_for_secrets(memory, 1)
        write = asyncio.create_task(log_with(memory, SECRET, NEWER).append([an_event(1)]))
        await waiting_for_secrets(memory, 2)
    assert [outcome.status for outcome in await write] == [Status.ACCEPTED]
    await rotation
    assert await num_users(memory.database) == (1, 0)


async def waiting_for_secrets(memory: Memory, number: int) -> None:
    """Wait until so many transactions wait for the lock of the secrets."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with asyncio.timeout(10), reading(memory.database) as connection:
        while (await connection.execute(waiting)).scalar_one() != number:  # noqa: ASYNC110 - polls the database
            await asyncio.sleep(0.02)


async def test_a_rotation_whose_process_is_killed_is_finished_by_the_next(
    filled: Memory, tmp_path: Path
) -> None:
    chance = random.Random(0)
    others = [{"user_key": chance.randbytes(32), "last_sequence": 0} for _ in range(20_000)]
    async with writing(filled.database) as connection:
        await connection.execute(users.insert(), others)
    await filled.database.close()
    environment = {
        "GROUNDSWELL_DATABASE_URL": filled.settings.database_url,
        "GROUNDSWELL_SECRET": NEWER,
        # A secret with a comma is named in a line of its own.
        "GROUNDSWELL_PREVIOUS_SECRETS": f"{SECRET}\n",
    }
    arguments = ["-m", "groundswell.profile_service", "rotate-secret"]
    process = Process(arguments, environment, tmp_path / "log")
    database = Database(filled.settings.database_url)
    done = 0
    with process:
        while not done and process.is_running:
            done = await num_rewritten(database)
            await asyncio.sleep(0.01)
        process.kill()
    assert 0 < await num_rewritten(database) <= 20_025
    with process:
        assert process.wait(60) == 0
    assert await num_rewritten(database) == 20_025
    assert '"users": 20025' in process.log()
    filled.database = database
    log = log_with(filled, SECRET, NEWER)
    assert await numbers_of_events(log) == EVENTS
    await database.close()
