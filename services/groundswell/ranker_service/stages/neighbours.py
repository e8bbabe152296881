"""Neighbour stage: looks up the neighbour scores of items for what a user did."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.ranker_service.bundle_rows import BundleRows
from groundswell.retrieval.neighbours import Neighbours, Sparse


class NeighbourLookup(Protocol):
    """Gives neighbour scores, each at least 0, to items that follow those of a user."""

    def short(self, window: NDArray[np.int64]) -> Sparse:
        """Return n_s of ids; see `pipeline.RankInput.window`."""

    def long(self, history: NDArray[np.int64]) -> Sparse:
        """Return n_l of ids; see `pipeline.RankInput.history`."""


class NumberedNeighbours:
    """A bundle's neighbours, looked up by the catalogue's item numbers instead of its rows.

    A number that is no item of the bundle has no neighbours.
    """

    def __init__(self, neighbours: Neighbours, rows: BundleRows) -> None:
        self._neighbours = neighbours
        self._rows = rows

    @classmethod
    def of(cls, bundle: Bundle, rows: BundleRows) -> "NumberedNeighbours | None":
        """Open a bundle's neighbours; None when it has none."""
        neighbours = Neighbours.of(bundle)
        return None if neighbours is None else cls(neighbours, rows)

    def short(self, window: NDArray[np.int64]) -> Sparse:
        """Return the neighbour scores of a window's items [n], oldest event first."""
        return self._by_number(self._neighbours.short(self._rows.rows(window)))

    def long(self, history: NDArray[np.int64]) -> Sparse:
        """Return those of a history's items [n], each once, ordered by most recent interaction,
        oldest first."""
        return self._by_number(self._neighbours.long(self._rows.rows(history)))

    def shares(
        self, window: NDArray[np.int64], history: NDArray[np.int64], item: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what each item of a window and of a history adds to an item's neighbour scores."""
        [row] = self._rows.rows(np.array([item], np.int64)).tolist()
        return (
            self._neighbours.short_shares(self._rows.rows(window), row),
            self._neighbours.long_shares(self._rows.rows(history), row),
        )

    def _by_number(self, scores: Sparse) -> Sparse:
        """Name items by their numbers; a row that is no item now gets -1, which no index knows."""
        return Sparse(self._rows.numbers(scores.rows), scores.scores)
