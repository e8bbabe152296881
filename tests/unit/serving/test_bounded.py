"""A cache keeps what was used last, within its bytes and its number of entries."""

import pytest

from groundswell.serving.bounded import ENTRY_BYTES, BoundedCache
from tests.support.memory import allocations


def cache(*, max_bytes: int = 10_000, max_entries: int = 100) -> BoundedCache[str, bytes]:
    return BoundedCache(
        max_bytes=max_bytes, max_entries=max_entries, size=lambda key, value: len(key) + len(value)
    )


def test_the_entry_that_was_used_longest_ago_leaves_first() -> None:
    kept = cache(max_entries=2)
    kept.put("a", b"1")
    kept.put("b", b"2")
    assert kept.get("a") == b"1"
    kept.put("c", b"3")
    assert [kept.get(key) for key in "abc"] == [b"1", None, b"3"]


def test_looking_without_using_and_replacing_do_not_count_as_use() -> None:
    kept = cache(max_entries=2)
    kept.put("a", b"1")
    kept.put("b", b"2")
    assert kept.peek("a") == b"1"
    kept.replace("a", b"11")
    kept.put("c", b"3")
    assert [kept.get(key) for key in "abc"] == [None, b"2", b"3"]


def test_what_is_not_kept_is_not_replaced() -> None:
    kept = cache()
    kept.replace("a", b"1")
    assert len(kept) == 0


def test_bytes_are_counted_through_every_change() -> None:
    kept = cache()
    kept.put("a", b"1" * 100)
    kept.put("a", b"1" * 10)
    kept.replace("a", b"1" * 50)
    kept.put("b", b"")
    assert kept.num_bytes == 2 * ENTRY_BYTES + 1 + 50 + 1
    kept.clear()
    assert kept.num_bytes == len(kept) == 0


def test_a_value_that_is_larger_than_everything_may_be_is_not_kept_and_drops_none() -> None:
    kept = cache(max_bytes=1_000)
    kept.put("a", b"1")
    kept.put("b", b"1" * 1_000)
    assert kept.get("a") == b"1"
    assert kept.get("b") is None


def test_a_value_that_grows_is_measured_anew_unless_another_took_its_place() -> None:
    lists: BoundedCache[str, list[int]] = BoundedCache(
        max_bytes=5_000, max_entries=10, size=lambda _, value: len(value) * 100
    )
    grows, other = [1], [2]
    lists.put("a", grows)
    grows += range(9)
    lists.measure("a", grows)
    assert lists.num_bytes == ENTRY_BYTES + 1_000
    lists.put("a", other)
    grows += range(90)
    lists.measure("a", grows)
    assert lists.get("a") is other
    assert lists.num_bytes == ENTRY_BYTES + 100


@pytest.mark.parametrize("length", [0, 1_000])
def test_entries_take_no_more_memory_than_the_bound(length: int) -> None:
    bound = 1_000_000
    with allocations() as held:
        kept: BoundedCache[bytes, bytes] = BoundedCache(
            max_bytes=bound, max_entries=10**9, size=lambda k, v: 70 + len(k) + len(v)
        )
        for n in range(6_000):
            kept.put(b"%032d" % n, b"%0*d" % (length, n))
        assert bound // 3 <= held() <= 1.2 * bound
