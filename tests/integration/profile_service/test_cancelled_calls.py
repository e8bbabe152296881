"""Calls that are cancelled at random moments do not affect other calls, on both databases."""

import asyncio
import random

from tests.integration.profile_service.support import Memory, an_event, an_item

SEED = 11
HASTY = 30
CALM = 25
_LONGEST_S = 10.0


async def _call_hastily(memory: Memory, name: str, stop: asyncio.Event) -> int:
    """Write and read with deadlines of 1 to 30 ms until told to stop; count what was given up."""
    rng, number, num_given_up = random.Random(f"{SEED} {name}"), 0, 0
    while not stop.is_set():
        number += 1
        try:
            async with asyncio.timeout(rng.uniform(0.001, 0.03)):
                match rng.randrange(4):
                    case 0:
                        await memory.catalogue.upsert([an_item("b", f"{name} {number}")])
                    case 1:
                        await memory.log.list(name, None, 10)
                    case _:
                        await memory.log.append([an_event(number, user=name)])
        except TimeoutError:
            num_given_up += 1
    return num_given_up


async def test_a_calm_writer_is_not_held_up_by_calls_that_are_given_up(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    stop = asyncio.Event()
    hasty = [asyncio.create_task(_call_hastily(memory, f"hasty {n}", stop)) for n in range(HASTY)]
    for number in range(CALM):
        async with asyncio.timeout(_LONGEST_S):
            await memory.log.append([an_event(number, user="calm")])
        await asyncio.sleep(0.02)
    stop.set()
    num_given_up = sum(await asyncio.gather(*hasty))
    stored = (await memory.log.list("calm", None, 1000)).events
    assert [event.event_id for event in stored] == [f"e{n}" for n in reversed(range(CALM))]
    assert num_given_up > HASTY
    for name in (f"hasty {n}" for n in range(HASTY)):
        page = await memory.log.list(name, None, 100_000)
        assert len({event.event_id for event in page.events}) == page.last_sequence
