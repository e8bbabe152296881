"""Rows of a bundle and items of the catalogue, as both change."""

import numpy as np

from groundswell.ranker_service.bundle_rows import BundleRows


def test_rows_and_numbers_are_found_from_each_other() -> None:
    rows = BundleRows(3)
    assert rows.numbers(np.arange(3)).tolist() == [-1, -1, -1]
    rows.put(np.array([40, 7, 9]), np.array([2, -1, 0]))
    assert rows.rows(np.array([9, 40, 7, 8, -1, 1_000])).tolist() == [0, 2, -1, -1, -1, -1]
    assert rows.numbers(np.array([2, 1, 0])).tolist() == [40, -1, 9]


def test_a_deleted_item_leaves_its_row() -> None:
    rows = BundleRows(2)
    rows.put(np.array([5, 6]), np.array([0, 1]))
    rows.remove(np.array([5, 99]))
    assert rows.rows(np.array([5, 6])).tolist() == [-1, 1]
    assert rows.numbers(np.array([0, 1])).tolist() == [-1, 6]


def test_an_item_that_came_again_under_a_new_number_keeps_its_row() -> None:
    rows = BundleRows(1)
    rows.put(np.array([5]), np.array([0]))
    rows.put(np.array([8]), np.array([0]))
    rows.remove(np.array([5]))
    assert rows.numbers(np.array([0])).tolist() == [8]
    assert rows.rows(np.array([5, 8])).tolist() == [-1, 0]
