"""Sets of ids against Python's own sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.retrieval.id_set import IdSet

ids = st.sets(st.integers(0, 60))


def made(members: set[int]) -> IdSet:
    mask = np.zeros(max(members, default=-1) + 1, bool)
    mask[list(members)] = True
    return IdSet.of(mask)


def as_array(members: set[int]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(sorted(members), np.int64)


@given(one=ids, other=ids)
def test_sets_are_met_left_out_and_asked(one: set[int], other: set[int]) -> None:
    assert made(one).ids.tolist() == sorted(one)
    assert made(one).count == len(one)
    assert (made(one) & made(other)).ids.tolist() == sorted(one & other)
    assert (made(one) - made(other)).ids.tolist() == sorted(one - other)
    asked = np.arange(-3, 80)
    assert made(one).has(asked).tolist() == [int(n) in one for n in asked]


@given(members=ids, added=ids, removed=ids)
def test_an_updated_set_leaves_the_one_before_as_it_was(
    members: set[int], added: set[int], removed: set[int]
) -> None:
    before = made(members)
    changed = as_array(added | removed)
    after = before.updated(changed, np.isin(changed, as_array(added)))
    assert after.ids.tolist() == sorted((members | added) - (removed - added))
    assert before.ids.tolist() == sorted(members)
