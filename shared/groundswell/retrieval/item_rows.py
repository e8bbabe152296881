"""Maps items to positions of an index, in arrays that are changed in place; numpy and FAISS."""

from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError
from groundswell.retrieval.id_set import IdSet, among

_MAX_ID = 2**31
_NUM_FREE = 1_024
_SAME_VECTOR = 1e-2
"""Relative distance within which an item's vector counts as the one that the index has: it may
have been encoded in another batch or stored at half precision; a changed text moves it further."""
_NO_ITEM = -1
_HIDDEN = -2
"""The item i is held as `_HIDDEN - i` at its position while it must not be found."""


@dataclass(frozen=True)
class ItemRows:
    """An index's rows. Positions are the main index's n rows, then the m slots of what came since.

    The engine has the first `num_indexed` of them; the others, the delta, are compared one by one.

    One thread at a time changes rows; any number may read meanwhile. A change costs as much as it
    is large: it writes ids and positions in place, and vectors only into slots that no reader of an
    earlier state looks at. A reader that reads the ids of what it found last gets no item that left
    before it began, and no item twice; an item whose vector changes just then it may miss.
    """

    main: NDArray[np.float32]
    """[n, d] vectors that the main index was built of, which may be mapped."""
    later: NDArray[np.float32]
    """[m, d] vectors that came since; the head of a larger buffer."""
    num_indexed: int
    """How many positions the engine searches, at least n."""
    id_vector: faiss.Int64Vector
    """What `ids` lies in."""
    ids: NDArray[np.int64]
    """[n + at least m] the item that can be found at each position; less than 0 for none."""
    positions: NDArray[np.int64]
    """[highest id + 1] the position of each id's vector; −1 without one."""
    hidden: NDArray[np.bool_]
    """[highest id + 1] True for items that must not be found, with a vector or without."""
    main_places: NDArray[np.int32]
    """[rows of the bundle] which position of the main index each row has."""
    longest: float
    """No vector is longer than this."""
    num_dead: int
    """How many of the positions that the engine searches have no item to be found."""
    num_revived: int = 0
    """How often the positions that the engine searches and that have an item became others, or
    more."""

    @classmethod
    def over(
        cls, main: NDArray[np.float32], ids: NDArray[np.int64], places: NDArray[np.int32]
    ) -> "ItemRows":
        """Start with a main index alone; positions whose id is −1 are no items.

        Raises BundleError (BUNDLE_CORRUPT) when a vector is not finite.
        """
        if len(ids) != len(main):
            raise ValueError(f"{len(ids)} ids for {len(main)} rows")
        known = ids[ids >= 0]
        _check_ids(known)
        size = int(known.max(initial=-1)) + 1
        positions = np.full(size, -1, np.int64)
        positions[known] = np.flatnonzero(ids >= 0)
        vector, view = _id_vector(len(main) + _NUM_FREE)
        view[: len(ids)] = ids
        longest = _longest(main)
        if not np.isfinite(longest):
            raise BundleError("BUNDLE_CORRUPT", "the index has values that are not finite")
        later = np.empty((_NUM_FREE, main.shape[1]), np.float32)[:0]
        hidden = np.zeros(size, dtype=bool)
        num_dead = len(ids) - len(known)
        n = len(main)
        return cls(main, later, n, vector, view, positions, hidden, places, longest, num_dead)

    @property
    def num_positions(self) -> int:
        """n + m."""
        return len(self.main) + len(self.later)

    @property
    def delta(self) -> NDArray[np.float32]:
        """The vectors that the engine does not search."""
        return self.later[self.num_indexed - len(self.main) :]

    @property
    def num_items(self) -> int:
        """How many items can be found."""
        return int(np.count_nonzero(self.ids >= 0))

    def items(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids [k] and positions [k] of all items with a vector, hidden ones too."""
        names = self.ids[: self.num_positions]
        places = np.flatnonzero(names != _NO_ITEM)
        names = names[places]
        return np.where(names < 0, _HIDDEN - names, names), places

    def put(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        bundle_rows: NDArray[np.int64],
    ) -> "ItemRows":
        """Insert or replace items; ids once each, vectors [k, d] finite.

        `bundle_rows` names the row that the bundle has for the item, −1 for none; the row serves
        where it is free and its vector is the item's, else the delta does. An item that has this
        vector already keeps its position. Raises ValueError for bad input.
        """
        _check_ids(ids)
        _check_ids(bundle_rows[bundle_rows >= 0])
        if vectors.shape != (len(ids), self.main.shape[1]):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(ids)} ids")
        if not np.isfinite(vectors).all():
            raise ValueError("a vector is not finite")
        rows = self._grown(int(ids.max(initial=-1)) + 1)
        places = rows.held(ids)
        same = rows._are_at(places, vectors)
        rows = rows.remove(ids[~same])
        ids, vectors, bundle_rows = ids[~same], vectors[~same], bundle_rows[~same]
        places = rows._free_rows(bundle_rows, vectors)
        rows = rows._named(places[places >= 0], ids[places >= 0])
        return rows._appended(ids[places < 0], vectors[places < 0])

    def remove(self, ids: NDArray[np.int64]) -> "ItemRows":
        """Take items out; ids that are not there are ignored."""
        places = self.held(ids)
        there = places >= 0
        rows = self._renamed(places[there], np.full(np.count_nonzero(there), _NO_ITEM))
        self.positions[ids[there]] = -1
        return rows

    def hide(self, ids: NDArray[np.int64], hidden: NDArray[np.bool_]) -> "ItemRows":
        """Hide items [k] from searches, or show them again; their vectors stay, or may come."""
        rows = self._grown(int(ids.max(initial=-1)) + 1)
        rows.hidden[ids] = hidden
        places = rows.held(ids)
        return rows._named(places[places >= 0], ids[places >= 0])

    def indexed(self, num_indexed: int) -> "ItemRows":
        """Go on with an engine that has more of the positions."""
        num_dead = self.num_dead + int((self.ids[self.num_indexed : num_indexed] < 0).sum())
        num_revived = self.num_revived + 1
        return replace(self, num_indexed=num_indexed, num_dead=num_dead, num_revived=num_revived)

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [k] the position of each of `ids` [k]; -1 for those that cannot be found."""
        held = self.held(ids)
        held[self.ids[held] != ids] = -1
        return held

    def held(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [k] the position of the vector of each of `ids` [k], also of hidden ones."""
        if not len(self.positions):
            return np.full(len(ids), -1, np.int64)
        found: NDArray[np.int64] = self.positions.take(ids, mode="clip")
        found[(ids < 0) | (ids >= len(self.positions)) | (found >= self.num_positions)] = -1
        return found

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors at positions."""
        n = len(self.main)
        if not len(self.later) or not len(places) or places.max() < n:
            return self.main.take(places, 0)
        vectors = np.empty((len(places), self.main.shape[1]), np.float32)
        of_main = places < n
        vectors[of_main] = self.main[places[of_main]]
        vectors[~of_main] = self.later[places[~of_main] - n]
        return vectors

    def passing(
        self, places: NDArray[np.int64], exclude: NDArray[np.int64], allowed: IdSet | None
    ) -> NDArray[np.bool_]:
        """Return [k] True for those positions [k] whose item may be returned."""
        ids = self.ids[places]
        passing = ids >= 0 if allowed is None else allowed.has(ids)
        if len(exclude):
            passing &= ~among(ids, exclude)
        return passing

    def all_passing(self, exclude: NDArray[np.int64], allowed: IdSet | None) -> NDArray[np.int64]:
        """Return the positions of all items that may be returned."""
        if allowed is None:
            places = np.flatnonzero(self.ids[: self.num_positions] >= 0)
        else:
            places = self.find(allowed.ids)
            places = places[places >= 0]
        if not len(exclude):
            return places
        return places[~among(self.ids[places], exclude)]

    def _are_at(self, places: NDArray[np.int64], vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return [k] True where the vector at a position is the one given; -1 is no position."""
        same = places >= 0
        stored = self.vectors(places[same])
        apart = np.linalg.norm(vectors[same] - stored, axis=1)
        same[same] = apart <= _SAME_VECTOR * np.linalg.norm(stored, axis=1)
        return same

    def _free_rows(
        self, bundle_rows: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Return [k] the position of the main index that can serve an item, -1 for none."""
        known = (bundle_rows >= 0) & (bundle_rows < len(self.main_places))
        places = np.full(len(bundle_rows), -1, np.int64)
        places[known] = self.main_places[bundle_rows[known]]
        places[self.ids[places] != _NO_ITEM] = -1
        places[~self._are_at(places, vectors)] = -1
        return places

    def _named(self, places: NDArray[np.int64], ids: NDArray[np.int64]) -> "ItemRows":
        """Give positions to items, each under the name that says whether it can be found."""
        self.positions[ids] = places
        return self._renamed(places, np.where(self.hidden[ids], _HIDDEN - ids, ids))

    def _renamed(self, places: NDArray[np.int64], names: NDArray[np.int64]) -> "ItemRows":
        of_engine = places < self.num_indexed
        was, becomes = self.ids[places[of_engine]] >= 0, names[of_engine] >= 0
        self.ids[places] = names
        if np.array_equal(was, becomes):
            return self
        return replace(
            self,
            num_dead=self.num_dead + int(was.sum()) - int(becomes.sum()),
            num_revived=self.num_revived + int((becomes & ~was).sum()),
        )

    def _appended(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> "ItemRows":
        """Add items to the delta; readers of an earlier state do not look past its own end."""
        if not len(ids):
            return self
        m, total = len(self.later), len(self.later) + len(ids)
        buffer = self.later.base
        assert isinstance(buffer, np.ndarray)
        rows = self
        if len(buffer) < total:
            buffer = np.empty((2 * total, vectors.shape[1]), np.float32)
            buffer[:m] = self.later
        if len(self.ids) < len(self.main) + total:
            vector, view = _id_vector(len(self.main) + len(buffer))
            view[: self.num_positions] = self.ids[: self.num_positions]
            rows = replace(self, id_vector=vector, ids=view)
        buffer[m:total] = vectors
        longest = max(rows.longest, _longest(vectors))
        rows = replace(rows, later=buffer[:total], longest=longest)
        return rows._named(len(self.main) + np.arange(m, total), ids)

    def _grown(self, size: int) -> "ItemRows":
        """Make room for ids below `size`, for twice as many where there is too little."""
        if size <= len(self.positions):
            return self
        missing = 2 * size - len(self.positions)
        positions = np.concatenate([self.positions, np.full(missing, -1, np.int64)])
        hidden = np.concatenate([self.hidden, np.zeros(missing, dtype=bool)])
        return replace(self, positions=positions, hidden=hidden)


def _check_ids(ids: NDArray[np.int64]) -> None:
    if len(ids) and (ids.min() < 0 or ids.max() >= _MAX_ID):
        raise ValueError(f"an id is not within [0, {_MAX_ID})")
    if len(np.unique(ids)) != len(ids):
        raise ValueError("an id comes twice")


def _id_vector(size: int) -> tuple[faiss.Int64Vector, NDArray[np.int64]]:
    """Make a vector that FAISS reads, full of -1, and the array that changes it."""
    vector = faiss.Int64Vector()
    vector.resize(size)
    view: NDArray[np.int64] = faiss.rev_swig_ptr(vector.data(), size)
    view[:] = _NO_ITEM
    return vector, view


def _longest(vectors: NDArray[np.float32]) -> float:
    """Return the largest length of vectors [k, d]; not finite when a value is not."""
    squares = np.einsum("kd,kd->k", vectors, vectors, dtype=np.float64)
    return float(np.sqrt(squares.max(initial=0.0)))
