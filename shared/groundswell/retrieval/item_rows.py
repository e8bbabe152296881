"""Maps items to positions of an index, and marks the positions in use; numpy only."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError

_MAX_ID = 2**31
_COMPACT_ABOVE = 1_024
_SAME_VECTOR = 1e-2
"""Relative distance within which an item's vector counts as the main index's own: it may have been
encoded in another batch or stored at half precision; a changed text moves it further."""


@dataclass(frozen=True)
class ItemRows:
    """One state of an index's rows; a change makes a new state, so that a search reads one.

    Positions are the main index's n rows, then the m slots of the delta. All arrays are read-only
    by agreement; the delta's buffer is shared between states and only ever written past their end.
    """

    main: NDArray[np.float32]
    """[n, d] vectors of the main index."""
    delta: NDArray[np.float32]
    """[m, d] vectors of the delta."""
    ids: NDArray[np.int64]
    """[n + m] the item at each position; −1 where there never was one."""
    alive: NDArray[np.bool_]
    """[n + m] True where the position holds its item's current vector."""
    positions: NDArray[np.int64]
    """[highest id + 1] the alive position of each id; −1 without one."""
    norms: NDArray[np.float32]
    """[n + m] lengths of the vectors without their popularity dimension."""
    longest: float
    """No vector is longer than this."""

    @classmethod
    def over(cls, main: NDArray[np.float32], ids: NDArray[np.int64]) -> "ItemRows":
        """Start with a main index alone; rows whose id is −1 are no items."""
        if len(ids) != len(main):
            raise ValueError(f"{len(ids)} ids for {len(main)} rows")
        alive = ids >= 0
        known = ids[alive]
        _check_ids(known)
        positions = np.full(int(known.max(initial=-1)) + 1, -1, np.int64)
        positions[known] = np.flatnonzero(alive)
        norms = _norms(main)
        if not np.isfinite(norms).all() or not np.isfinite(main[:, -1]).all():
            raise BundleError("BUNDLE_CORRUPT", "the index has values that are not finite")
        delta = np.empty((0, main.shape[1]), np.float32)
        longest = _longest(main, norms)
        return cls(main, delta, ids.astype(np.int64), alive, positions, norms, longest)

    @property
    def num_items(self) -> int:
        """How many items are alive."""
        return int(np.count_nonzero(self.alive))

    def put(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        main_rows: NDArray[np.int64],
    ) -> "ItemRows":
        """Insert or replace items; ids once each, vectors [k, d] finite.

        `main_rows` names the row that the bundle has for the item, −1 for none; the row serves
        where it is free and its vector is the item's, else the delta does. Raises ValueError for
        bad input.
        """
        _check_ids(ids)
        _check_ids(main_rows[main_rows >= 0])
        if vectors.shape != (len(ids), self.main.shape[1]):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(ids)} ids")
        if not np.isfinite(vectors).all():
            raise ValueError("a vector is not finite")
        base = self.remove(ids)
        in_main = base._in_main(vectors, main_rows)
        first = len(base.ids)
        places = main_rows.copy()
        places[~in_main] = first + np.arange(np.count_nonzero(~in_main))
        extra = int(np.count_nonzero(~in_main))
        changed_ids = np.concatenate([base.ids, np.full(extra, -1, np.int64)])
        alive = np.concatenate([base.alive, np.zeros(extra, bool)])
        changed_ids[places], alive[places] = ids, True
        positions = _grown(base.positions, int(ids.max(initial=-1)) + 1)
        positions[ids] = places
        added = vectors[~in_main]
        added_norms = _norms(added)
        return ItemRows(
            base.main,
            _appended(base.delta, added),
            changed_ids,
            alive,
            positions,
            np.concatenate([base.norms, added_norms]),
            max(base.longest, _longest(added, added_norms)),
        )._compacted()

    def remove(self, ids: NDArray[np.int64]) -> "ItemRows":
        """Take items out; ids that are not there are ignored."""
        places = self.places(ids)
        alive, positions = self.alive.copy(), self.positions.copy()
        positions[self.ids[places]] = -1
        alive[places] = False
        return replace(self, alive=alive, positions=positions)

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the alive positions of those of `ids` that are there, in their order."""
        found = self.find(ids)
        return found[found >= 0]

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [k] the alive position of each of `ids` [k]; -1 for those that are not there."""
        known = (ids >= 0) & (ids < len(self.positions))
        found = np.full(len(ids), -1, np.int64)
        found[known] = self.positions[ids[known]]
        return found

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors at positions."""
        if not len(self.delta):
            return self.main[places]
        n = len(self.main)
        vectors = np.empty((len(places), self.main.shape[1]), np.float32)
        of_main = places < n
        vectors[of_main] = self.main[places[of_main]]
        vectors[~of_main] = self.delta[places[~of_main] - n]
        return vectors

    def passing(
        self, exclude: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_]:
        """Return [n + m] True where an item may be returned; `allowed` is indexed by id."""
        passing = self.alive.copy()
        if allowed is not None:
            within = passing & (self.ids < len(allowed))
            passing[:] = False
            passing[within] = allowed[self.ids[within]]
        passing[self.places(exclude)] = False
        return passing

    def _in_main(
        self, vectors: NDArray[np.float32], main_rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        same = (main_rows >= 0) & (main_rows < len(self.main))
        same[same] = ~self.alive[main_rows[same]]
        stored = self.main[main_rows[same]]
        apart = np.linalg.norm(vectors[same] - stored, axis=1)
        same[same] = apart <= _SAME_VECTOR * np.linalg.norm(stored, axis=1)
        return same

    def _compacted(self) -> "ItemRows":
        """Drop the delta's dead slots once most of it is dead."""
        n = len(self.main)
        live = np.flatnonzero(self.alive[n:])
        if len(self.delta) <= 2 * len(live) + _COMPACT_ABOVE:
            return self
        kept = np.concatenate([np.arange(n), n + live])
        positions = self.positions.copy()
        positions[self.ids[n + live]] = n + np.arange(len(live))
        return replace(
            self,
            delta=self.delta[live],
            ids=self.ids[kept],
            alive=self.alive[kept],
            positions=positions,
            norms=self.norms[kept],
        )


def _check_ids(ids: NDArray[np.int64]) -> None:
    if len(ids) and (ids.min() < 0 or ids.max() >= _MAX_ID):
        raise ValueError(f"an id is not within [0, {_MAX_ID})")
    if len(np.unique(ids)) != len(ids):
        raise ValueError("an id comes twice")


def _norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(vectors[:, :-1], axis=1)
    return norms


def _longest(vectors: NDArray[np.float32], norms: NDArray[np.float32]) -> float:
    return float(np.hypot(norms, vectors[:, -1]).max(initial=0.0))


def _grown(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    missing = max(size - len(positions), 0)
    return np.concatenate([positions, np.full(missing, -1, np.int64)])


def _appended(delta: NDArray[np.float32], more: NDArray[np.float32]) -> NDArray[np.float32]:
    """Append rows; older states keep seeing their own, since only what lies past them is written.

    The buffer doubles, so that filling a catalogue does not copy it for every batch.
    """
    if not len(more):
        return delta
    m, total = len(delta), len(delta) + len(more)
    buffer = delta.base if isinstance(delta.base, np.ndarray) else delta
    if len(buffer) < total:
        buffer = np.empty((max(2 * total, _COMPACT_ABOVE), delta.shape[1]), np.float32)
        buffer[:m] = delta
    buffer[m:total] = more
    return buffer[:total]
