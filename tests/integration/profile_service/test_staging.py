"""Staged items are seen by nobody, and all of them at once after their commit."""

from contextlib import aclosing

import pytest

from groundswell.profile_service.catalogue import Changes
from groundswell.profile_service.staging import Stages
from groundswell.profile_service.store.items import Attribute
from groundswell.serving.errors import InvalidArgument, NotFound
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_item,
    work_all,
)


def stages_of(memory: Memory, keep_s: float = 3600.0) -> Stages:
    return Stages(memory.database, memory.signals, keep_s=keep_s)


async def visible(memory: Memory) -> dict[str, str]:
    """The titles of the items, by id."""
    page, _ = await memory.catalogue.list(0, 100)
    return {item.content.item_id: item.content.title for item in page.items}


async def changes(memory: Memory, since: int) -> Changes:
    """What a watcher gets first."""
    async with aclosing(memory.catalogue.watch(since, SPEC.fingerprint)) as watched:
        return await anext(watched)


async def test_a_stage_is_seen_at_once_and_whole(memory: Memory) -> None:
    stages, encoder = stages_of(memory), CountingEncoder()
    await memory.catalogue.upsert([an_item(name) for name in "abc"])
    await work_all(memory, encoder)
    assert await stages.put("next", [an_item("a", title="A"), an_item("d", title="D")]) == 2
    assert await stages.put("next", [an_item("a", title="AA"), an_item("b")]) == 3
    await work_all(memory, encoder)
    assert await visible(memory) == {name: an_item(name).title for name in "abc"}
    found = await changes(memory, 0)
    assert {item.content.item_id for item in found.items if not item.deleted} == set("abc")
    since = found.revision

    committed = await stages.commit("next", delete_others=True)
    assert (committed.num_written, committed.num_deleted) == (2, 1)  # b is as it was
    assert await visible(memory) == {"a": "AA", "b": an_item("b").title, "d": "D"}
    found = await changes(memory, since)
    assert (found.reset, found.caught_up) == (True, True)
    assert found.revision == committed.revision == since + 3
    there = {item.content.item_id: item for item in found.items if not item.deleted}
    assert set(there) == set("abd")
    # The new one was encoded aside; the other one has the vector of its old text until it is.
    assert all(item.text_vector is not None for item in there.values())
    await work_all(memory, encoder)
    again = await changes(memory, found.revision)
    [changed] = again.items
    assert (changed.content.item_id, again.reset) == ("a", False)
    assert changed.text_vector != there["a"].text_vector


async def test_a_watcher_starts_over_once_for_each_commit(memory: Memory) -> None:
    stages = stages_of(memory)
    await memory.catalogue.upsert([an_item(name) for name in "ab"])
    async with aclosing(memory.catalogue.watch(0, SPEC.fingerprint)) as watched:
        assert not (await anext(watched)).reset
        for title in ("one", "two"):
            await stages.put("next", [an_item("b", title=title)])
            await stages.commit("next", delete_others=False)
            found = await anext(watched)
            assert (found.reset, len(found.items)) == (True, 2)
            assert found.items[-1].content.title == title
        await memory.catalogue.upsert([an_item("c")])
        assert not (await anext(watched)).reset


async def test_a_stage_that_is_dropped_or_refused_changes_nothing(memory: Memory) -> None:
    stages = stages_of(memory)
    await memory.catalogue.upsert([an_item("a", attributes={"price": 1.0})])
    with pytest.raises(InvalidArgument, match="price"):
        await stages.put("next", [an_item("b"), an_item("c", attributes={"price": "low"})])
    assert await stages.put("next", [an_item("b")]) == 1
    assert await stages.drop("next") == 1
    for name in ("next", "unknown"):
        with pytest.raises(NotFound):
            await stages.commit(name, delete_others=True)
    assert set(await visible(memory)) == {"a"}
    # A staged item that was never committed can be written as any new one.
    await memory.catalogue.upsert([an_item("b", title="B")])
    assert (await visible(memory))["b"] == "B"


async def test_the_kinds_of_a_stage_are_fixed_by_its_commit_alone(memory: Memory) -> None:
    stages = stages_of(memory)
    await stages.put("dropped", [an_item("a", attributes={"size": "large", "price": 1.0})])
    with pytest.raises(InvalidArgument, match="size is a number, but was first a text"):
        await stages.put("dropped", [an_item("b", attributes={"size": 5.0})])
    await stages.put("other", [an_item("c", attributes={"size": 5.0, "colour": "red"})])
    await stages.drop("dropped")
    await stages.commit("other", delete_others=False)
    await stages.put("late", [an_item("d", attributes={"price": "low"})])
    await memory.catalogue.upsert([an_item("e", attributes={"size": 6.0, "price": 2.0})])
    with pytest.raises(InvalidArgument, match="price was staged as a text, but was since"):
        await stages.commit("late", delete_others=False)
    wrongs: list[dict[str, Attribute]] = [{"size": "large"}, {"colour": 1.0}]
    for wrong in wrongs:
        with pytest.raises(InvalidArgument):
            await memory.catalogue.upsert([an_item("e", attributes=wrong)])
    assert set(await visible(memory)) == {"c", "e"}


async def test_a_stage_without_a_change_is_dropped_after_its_time(memory: Memory) -> None:
    await stages_of(memory).put("old", [an_item("a", attributes={"size": "large"}), an_item("b")])
    assert await stages_of(memory).expire() == 0
    assert await stages_of(memory, keep_s=-1).expire() == 2
    with pytest.raises(NotFound):
        await stages_of(memory).commit("old", delete_others=True)
    await memory.catalogue.upsert([an_item("a", attributes={"size": 5.0})])
