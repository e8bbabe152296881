"""A server holds earlier bundles as long as calls ask for them, and no longer."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from groundswell.runtime.held_bundles import HeldBundles
from groundswell.serving.errors import FailedPrecondition, Unavailable


class Loaded:
    def __init__(self, bundle_id: str) -> None:
        self.id = bundle_id
        self.manifest: Any = Mock(chunk_spec=("encoder", 0))
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


def _stored(loaded: Loaded) -> Any:
    """The bundle on disk that is loaded as this one."""
    return loaded


async def load(bundle: Any) -> Any:
    return bundle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held(clock: Clock) -> HeldBundles[Loaded]:
    return HeldBundles(load, keep_s=60.0, max_held=4, clock=clock)


async def test_nothing_is_answered_before_the_first_bundle(held: HeldBundles[Loaded]) -> None:
    with pytest.raises(Unavailable) as caught:
        held.get("")
    assert caught.value.reason == "NO_BUNDLE"


async def test_the_served_model_is_told_with_its_manifest(held: HeldBundles[Loaded]) -> None:
    with pytest.raises(Unavailable):
        held.served_model()
    held.serve(Loaded("a"))
    served = Loaded("b")
    held.serve(served)
    assert held.served_model() == ("b", served.manifest)


async def test_the_served_bundle_and_the_one_before_it_stay_however_long(
    held: HeldBundles[Loaded], clock: Clock
) -> None:
    held.serve(Loaded("a"))
    held.serve(Loaded("b"))
    clock.now += 1e6
    assert held.take_out_unused() == []
    assert held.ids() == ["b", "a"]
    assert held.get("").id == "b"
    assert held.get("a").id == "a"


async def test_an_earlier_bundle_stays_while_it_is_asked_for_and_leaves_after_that(
    held: HeldBundles[Loaded], clock: Clock
) -> None:
    bundles = [Loaded(name) for name in "abc"]
    for bundle in bundles:
        held.serve(bundle)
    for _ in range(100):
        clock.now += 59
        held.get("a")
        assert held.take_out_unused() == []
    clock.now += 61
    assert held.take_out_unused() == [bundles[0]]
    with pytest.raises(FailedPrecondition) as caught:
        held.get("a")
    assert caught.value.reason == "BUNDLE_NOT_LOADED"


async def test_a_bundle_before_the_last_has_its_time_even_if_nobody_asked_before_the_swap(
    held: HeldBundles[Loaded], clock: Clock
) -> None:
    held.serve(Loaded("a"))
    clock.now += 1e6
    held.serve(Loaded("b"))
    held.serve(Loaded("c"))
    assert held.take_out_unused() == []
    assert held.ids() == ["c", "b", "a"]


async def test_a_rollback_to_a_held_bundle_keeps_all_of_them(held: HeldBundles[Loaded]) -> None:
    a, b = Loaded("a"), Loaded("b")
    held.serve(a)
    held.serve(b)
    found = held.find("a")
    assert found is a
    held.serve(found)
    assert held.ids() == ["a", "b"]


async def test_of_too_many_the_one_that_was_not_asked_for_longest_leaves(
    held: HeldBundles[Loaded], clock: Clock
) -> None:
    for name in "abcde":
        held.serve(Loaded(name))
        clock.now += 1
    held.get("a")
    assert [one.id for one in held.take_out_unused()] == ["b"]
    assert held.ids() == ["e", "d", "c", "a"]


async def test_what_is_not_needed_is_closed_without_being_told() -> None:
    held: HeldBundles[Loaded] = HeldBundles(load, keep_s=0.02, max_held=4)
    bundles = [Loaded(name) for name in "abc"]
    for bundle in bundles:
        held.serve(bundle)
    async with asyncio.timeout(5):
        while not bundles[0].is_closed:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    assert held.ids() == ["c", "b"]
    await held.close()
    assert all(bundle.is_closed for bundle in bundles)


async def test_a_dropped_bundle_is_closed_only_when_no_call_uses_it() -> None:
    held: HeldBundles[Loaded] = HeldBundles(load, keep_s=60.0, max_held=2)
    bundles = [Loaded(name) for name in "abcd"]
    held.serve(bundles[0])
    with held.using(bundles[:1], None):
        with held.using(bundles[:1], None):
            for bundle in bundles[1:]:
                held.serve(bundle)
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
        assert held.ids() == ["d", "c"]
        assert [bundle.is_closed for bundle in bundles] == [False, True, False, False]
    await asyncio.sleep(0.02)
    assert [bundle.is_closed for bundle in bundles] == [True, True, False, False]


async def test_a_bundle_that_is_served_again_while_it_waits_to_be_closed_stays_open() -> None:
    held: HeldBundles[Loaded] = HeldBundles(load, keep_s=60.0, max_held=2)
    bundles = [Loaded(name) for name in "abc"]
    held.serve(bundles[0])
    with held.using(bundles[:1], None):
        for bundle in bundles[1:]:
            held.serve(bundle)
        await asyncio.sleep(0.02)
        assert held.ids() == ["c", "b"]
        held.serve(bundles[0])
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.02)
    assert held.ids() == ["a", "c"]
    assert not bundles[0].is_closed


async def test_the_end_of_the_process_closes_what_waits_to_be_closed() -> None:
    held: HeldBundles[Loaded] = HeldBundles(load, keep_s=60.0, max_held=2)
    bundle = Loaded("a")
    with held.using((bundle,), None):
        held.retire(bundle)
        await asyncio.sleep(0.02)
        assert not bundle.is_closed
        await held.close()
        assert bundle.is_closed


async def test_what_a_call_asks_for_is_not_closed_before_the_call_ends() -> None:
    held: HeldBundles[Loaded] = HeldBundles(load, keep_s=60.0, max_held=2)
    held.serve(Loaded("a"))
    with held.asked_for("a") as bundle:
        for name in "bc":
            held.serve(Loaded(name))
        await asyncio.sleep(0.02)
        assert held.ids() == ["c", "b"]
        assert not bundle.is_closed
    await asyncio.sleep(0.02)
    assert bundle.is_closed


async def test_a_wanted_bundle_stays_beside_the_others_until_it_is_unwanted(
    held: HeldBundles[Loaded], clock: Clock
) -> None:
    beside = Loaded("v")
    held.serve(Loaded("a"))
    held.want(["v", "a"])
    await held.take_beside(_stored(beside))
    for bundle_id in "bc":
        held.serve(Loaded(bundle_id))
        clock.now += 1e6
    assert held.take_out_unused() == []
    assert held.ids()[:2] == ["c", "b"]
    assert {*held.ids()[2:]} == {"v", "a"}
    assert held.get("v") is beside
    held.want([])
    assert [one.id for one in held.take_out_unused()] == ["a"]
    assert held.ids() == ["c", "b"]
    await asyncio.sleep(0)
    assert beside.is_closed
    await held.close()


async def test_a_bundle_that_is_not_wanted_any_more_or_held_already_is_closed(
    held: HeldBundles[Loaded],
) -> None:
    late, second, served = Loaded("v"), Loaded("w"), Loaded("w")
    held.serve(Loaded("a"))
    held.want(["w"])
    for one in (late, second):
        await held.take_beside(_stored(one))
    held.serve(served)
    await asyncio.sleep(0)
    assert (late.is_closed, second.is_closed, served.is_closed) == (True, True, False)
    assert held.ids() == ["w", "a"]
    await held.close()


async def test_the_previous_bundle_is_held_as_the_one_before_if_there_is_none(
    held: HeldBundles[Loaded],
) -> None:
    previous, second, other = Loaded("p"), Loaded("q"), Loaded("o")
    other.manifest = Mock(chunk_spec=("another encoder", 0))
    held.serve(Loaded("a"))
    await held.take_before(_stored(other))
    assert held.ids() == ["a"]
    await held.take_before(_stored(previous))
    await held.take_before(_stored(second))
    await asyncio.sleep(0)
    assert (held.ids(), second.is_closed) == (["a", "p"], True)
    assert held.go_back("answers were bad") is previous
    await held.close()
