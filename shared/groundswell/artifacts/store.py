"""The folder of bundles: atomic publishing, the `current` pointer, verified loading."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import (
    FORMAT_VERSION,
    FileEntry,
    Manifest,
    NeighbourSpec,
)

_MANIFEST = "manifest.json"
_CURRENT = "current"
_ID_LENGTH = 16


class BundleStore:
    """A folder that holds bundles by id, and a link `current` to the one to serve."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give an empty folder to build a bundle in; what is left of it is removed at the end."""
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.root / f".building-{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Turn a workspace into a bundle and return its id; `current` does not change.

        Hashes every file, writes the manifest, and moves the folder into place in one step, so
        that a crash leaves the old state or the new one. Raises BundleError (BUNDLE_CORRUPT)
        when the result would not load.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = {path.relative_to(folder).as_posix(): _entry(path) for path in paths}
        complete = manifest.model_copy(update={"files": entries})
        content = complete.model_dump_json(indent=2).encode()
        (folder / _MANIFEST).write_bytes(content)
        bundle_id = _bundle_id(content)
        _verify(folder, complete)
        for path in [*paths, folder / _MANIFEST]:
            fsync(path)
        for directory in {folder, *(path.parent for path in paths)}:
            fsync(directory)
        target = self.path(bundle_id)
        if not target.exists():
            folder.rename(target)
            fsync(self.root)
        return bundle_id

    def set_current(self, bundle_id: str) -> None:
        """Point `current` at a published bundle, in one step.

        Raises BundleError (BUNDLE_MISSING) when there is no such bundle.
        """
        if not self.path(bundle_id).is_dir():
            raise BundleError("BUNDLE_MISSING", f"{self.root} holds no bundle {bundle_id}")
        link = self.root / f".current-{uuid.uuid4().hex}"
        link.symlink_to(bundle_id)
        link.replace(self.root / _CURRENT)
        fsync(self.root)

    def current(self) -> str | None:
        """Return the id of the bundle to serve; None when none was set yet."""
        try:
            return (self.root / _CURRENT).readlink().name
        except FileNotFoundError:
            return None

    def path(self, bundle_id: str) -> Path:
        """Return where a bundle lies, whether it exists or not."""
        return self.root / bundle_id

    def load(self, bundle_id: str) -> Bundle:
        """Load a bundle by id; as `load_bundle`."""
        return load_bundle(self.path(bundle_id))


def load_bundle(path: Path) -> Bundle:
    """Open a bundle after checking every file against the manifest, and the manifest itself.

    `path` may also be a folder of bundles: its current one is loaded. Raises BundleError
    (BUNDLE_MISSING, NO_CURRENT, BUNDLE_FORMAT, BUNDLE_CORRUPT). No code of the bundle runs.
    """
    if not path.is_dir():
        raise BundleError("BUNDLE_MISSING", f"there is no bundle at {path}")
    path = path.resolve()
    if not (path / _MANIFEST).exists():
        current = BundleStore(path).current()
        if current is None:
            message = f"{path} is no bundle (no {_MANIFEST}) and has no current one"
            raise BundleError("NO_CURRENT", message)
        return load_bundle(path / current)
    content = (path / _MANIFEST).read_bytes()
    bundle_id = _bundle_id(content)
    if bundle_id != path.name:
        raise BundleError("BUNDLE_CORRUPT", f"{_MANIFEST} of {path.name} was changed")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        message = f"{_MANIFEST} of {path.name} is not of format {FORMAT_VERSION}: {error}"
        raise BundleError("BUNDLE_FORMAT", message) from error
    for name, entry in manifest.files.items():
        if _entry(path / name) != entry:
            raise BundleError("BUNDLE_CORRUPT", f"{name} of {path.name} was changed")
    return _verify(path, manifest, bundle_id)


def _verify(path: Path, manifest: Manifest, bundle_id: str = "") -> Bundle:
    """Check what hashes cannot: the set of files, and that tables and vectors fit each other."""
    required = {*files.REQUIRED, *([files.INTEREST_HEAD] if manifest.categories else [])}
    required |= {*files.NEIGHBOURS} if manifest.neighbours else set()
    present = {p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir()}
    listed = {*manifest.files, _MANIFEST}
    undescribed = set() if manifest.neighbours else listed & {*files.NEIGHBOURS}
    for problem, names in (
        ("lacks", required - listed),
        ("lacks", listed - present),
        ("has a file that its manifest does not list:", present - listed),
        ("lists neighbours that its manifest does not describe:", undescribed),
    ):
        if names:
            raise BundleError("BUNDLE_CORRUPT", f"the bundle {problem} {sorted(names)[0]}")
    bundle = Bundle(bundle_id, path, manifest)
    try:
        num_items, vectors = len(bundle.rows), bundle.item_vectors
        popularity = bundle.popularity
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError("BUNDLE_CORRUPT", f"a table of the bundle: {error}") from error
    if num_items != len(bundle.item_ids):
        raise BundleError("BUNDLE_CORRUPT", f"{files.ITEMS} has an item twice")
    if vectors.shape != (num_items, manifest.dimension) or vectors.dtype != np.float32:
        due = (num_items, manifest.dimension)
        message = f"{files.ITEM_VECTORS} has {vectors.shape} {vectors.dtype}, not {due} float32"
        raise BundleError("BUNDLE_CORRUPT", message)
    if not np.isfinite(vectors).all():
        raise BundleError("BUNDLE_CORRUPT", f"{files.ITEM_VECTORS} has values that are not finite")
    if popularity.shape != (num_items,) or not np.isfinite(popularity).all():
        raise BundleError("BUNDLE_CORRUPT", f"{files.POPULARITY} does not fit {files.ITEMS}")
    if manifest.neighbours is not None:
        _verify_neighbours(bundle, manifest.neighbours)
    return bundle


def _verify_neighbours(bundle: Bundle, spec: NeighbourSpec) -> None:
    """Check the arrays of neighbours, without a copy of them: they may be large."""
    num_items = len(bundle.item_ids)
    due = (num_items, spec.count)
    try:
        rows, similarities = bundle.neighbour_rows, bundle.neighbour_similarities
    except (OSError, ValueError) as error:
        raise BundleError("BUNDLE_CORRUPT", f"the bundle's neighbours: {error}") from error
    for name, array, dtype in (
        (files.NEIGHBOUR_ROWS, rows, np.dtype(np.int32)),
        (files.NEIGHBOUR_SIMILARITIES, similarities, np.dtype(np.float16)),
    ):
        if array.shape != due or array.dtype != dtype:
            message = f"{name} has {array.shape} {array.dtype}, not {due} {dtype}"
            raise BundleError("BUNDLE_CORRUPT", message)
    if rows.min(initial=0) < -1 or rows.max(initial=-1) >= num_items:
        message = f"{files.NEIGHBOUR_ROWS} names a row that is not within [-1, {num_items})"
        raise BundleError("BUNDLE_CORRUPT", message)
    # NaN is neither. A negative one would let an item of a page fall below items not looked at.
    if not (similarities.min(initial=0) >= 0 and similarities.max(initial=0) < np.inf):
        message = f"{files.NEIGHBOUR_SIMILARITIES} has values that are negative or not finite"
        raise BundleError("BUNDLE_CORRUPT", message)


def _entry(path: Path) -> FileEntry | None:
    """Hash a file; None when there is no such file."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(sha256=digest, size=path.stat().st_size)
    except (FileNotFoundError, IsADirectoryError):
        return None


def _bundle_id(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:_ID_LENGTH]


def fsync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
