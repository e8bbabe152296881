"""The table of items gives vectors by number and knows cheaply which of them changed."""

import numpy as np

from groundswell.session_service.items import ItemTable


def numbers(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def vector(value: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(3, value, np.float32)


def test_an_item_has_its_vector_and_others_have_zeros() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 2, vector(1.5))
    items.upsert("b", 3, None)
    got = items.vectors(numbers(2, 3, 900, 5_000_000))
    assert got.tolist() == [[1.5] * 3, [0.0] * 3, [0.0] * 3, [0.0] * 3]
    assert items.numbers(["a"]) == [2]
    assert items.numbers(["nobody"]) == [None]


def test_the_table_grows_with_the_numbers_that_come() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    items.upsert("far", 50_000, vector(2.0))
    assert items.vectors(numbers(1, 50_000)).tolist() == [[1.0] * 3, [2.0] * 3]


def test_only_the_items_whose_vector_changed_count_as_changed() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    items.upsert("b", 2, vector(1.0))
    version = items.version
    items.upsert("b", 2, vector(2.0))
    assert items.unchanged(numbers(1), version)
    assert not items.unchanged(numbers(1, 2), version)
    assert items.unchanged(numbers(1, 2), items.version)
    assert items.unchanged(numbers(), version)


def test_a_vector_that_comes_for_an_unknown_item_counts_as_a_change() -> None:
    items = ItemTable(dimension=3)
    version = items.version
    items.upsert("late", 9_000, vector(1.0))
    assert not items.unchanged(numbers(9_000), version)


def test_an_upsert_that_changes_no_vector_changes_nothing() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    version = items.version
    items.upsert("a", 1, vector(1.0))
    items.upsert("never-encoded", 70_000, None)
    assert items.version == version


def test_a_deleted_item_is_unknown_and_has_zeros() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    version = items.version
    items.delete("a", 1)
    assert items.numbers(["a"]) == [None]
    assert items.vectors(numbers(1)).tolist() == [[0.0] * 3]
    assert not items.unchanged(numbers(1), version)


def test_deleting_an_old_number_leaves_the_id_that_was_given_to_a_new_item() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    items.upsert("a", 2, vector(2.0))
    items.delete("a", 1)
    assert items.numbers(["a"]) == [2]


def test_what_was_given_out_does_not_change_afterwards() -> None:
    items = ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    got = items.vectors(numbers(1))
    items.upsert("a", 1, vector(2.0))
    assert got.tolist() == [[1.0] * 3]


def test_another_table_takes_the_place_of_all_that_was_there() -> None:
    items, other = ItemTable(dimension=3), ItemTable(dimension=3)
    items.upsert("a", 1, vector(1.0))
    items.upsert("b", 2_000, vector(2.0))
    other.upsert("c", 1, vector(1.0))
    other.lineage = "after"
    version = items.version
    items.become(other)
    assert (items.numbers("ac"), items.lineage) == ([None, 1], "after")
    assert items.vectors(numbers(2_000)).tolist() == [[0.0] * 3]
    # The vector is equal, and belongs to another item.
    assert not items.unchanged(numbers(1), version)
    assert items.unchanged(numbers(1), items.version)
