"""The folder of bundles: atomic publishing, the `current` pointer, verified loading."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle, column_of
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import (
    FORMAT_VERSION,
    FileEntry,
    Manifest,
    NeighbourSpec,
)
from groundswell.artifacts.pointer import (
    CURRENT,
    MANIFEST,
    bundle_id_of,
    check_pointer,
    read_pointer,
    read_previous,
    write_pointer,
)
from groundswell.artifacts.private_copy import release
from groundswell.artifacts.small_files import fsync
from groundswell.artifacts.workspaces import LOCK, open_workspace

_SYSTEM_FILES = ("Thumbs.db", "desktop.ini", "lost+found", "@eaDir", "__MACOSX")
"""Files that operating systems leave in folders, besides hidden files."""

_UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, MemoryError, OverflowError)
"""Errors of reading what is no table; a size in its head may be beyond all memory."""

Signature = tuple[tuple[str, int, int], ...]
"""(name, size, time of change) of the files of a bundle."""


class BundleStore:
    """A folder that holds bundles by id, and a pointer `current` to the one to serve."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give an empty folder to build a bundle in; it is removed at the end if it still exists.

        Raises BundleError (CURRENT_INVALID), before any work, when the pointer could not be
        replaced.
        """
        check_pointer(self.root)
        with open_workspace(self.root) as folder:
            yield folder

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Turn a workspace into a bundle and return its id; `current` does not change.

        Hashes every file, writes the manifest, and moves the folder into place in one step, so
        that a crash leaves the old state or the new one. Raises BundleError (BUNDLE_CORRUPT)
        when the result would not load.
        """
        (folder / LOCK).unlink(missing_ok=True)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = {path.relative_to(folder).as_posix(): _entry(path) for path in paths}
        complete = manifest.model_copy(update={"files": entries})
        content = complete.model_dump_json(indent=2).encode()
        (folder / MANIFEST).write_bytes(content)
        bundle_id = bundle_id_of(content)
        _check_names(folder, complete)
        _verify(Bundle(bundle_id, folder, complete))
        for path in [*paths, folder / MANIFEST]:
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

        Raises BundleError: BUNDLE_MISSING when there is no such bundle, CURRENT_INVALID when
        something else lies in the pointer's place.
        """
        if not self.path(bundle_id).is_dir():
            raise BundleError("BUNDLE_MISSING", f"{self.root} holds no bundle {bundle_id}")
        write_pointer(self.root, bundle_id)

    def current(self) -> str | None:
        """Return the id of the bundle to serve; None when none was set yet.

        Raises BundleError (CURRENT_INVALID) when the pointer names no bundle, and OSError.
        """
        return read_pointer(self.root)

    def previous(self) -> str | None:
        """Return the id of the bundle that was current before; None where none was.

        Raises as `current`.
        """
        return read_previous(self.root)

    def path(self, bundle_id: str) -> Path:
        """Return where a bundle lies, whether it exists or not."""
        return self.root / bundle_id

    def load(self, bundle_id: str) -> Bundle:
        """Load a bundle by id; as `load_bundle`."""
        return load_bundle(self.path(bundle_id))

    def check(self, bundle_id: str) -> None:
        """Check a bundle without reading its data files. Raises BundleError."""
        path = self.path(bundle_id)
        _, manifest = _read_manifest(path)
        _check_names(path, manifest)
        for name, entry in manifest.files.items():
            if (path / name).stat().st_size != entry.size:
                raise BundleError("BUNDLE_CORRUPT", f"{name} of {path.name} was changed")

    def manifests(self) -> dict[str, Manifest]:
        """Return the manifests of all bundles that have a readable one, by id.

        Raises OSError when the folder cannot be read.
        """
        found = {}
        for path in sorted(self.root.iterdir()):
            if not path.name.startswith(".") and path.name != CURRENT and path.is_dir():
                try:
                    bundle_id, found_manifest = _read_manifest(path)
                except BundleError:
                    continue
                found[bundle_id] = found_manifest
        return found

    def signature(self, bundle_id: str) -> Signature:
        """Return the names, sizes and times of a bundle's files; they differ when a file changes.

        Raises OSError when the bundle cannot be read.
        """
        path = self.path(bundle_id)
        found = [(p, p.stat()) for p in sorted(path.rglob("*"))]
        return tuple((p.name, state.st_size, state.st_mtime_ns) for p, state in found)


def load_bundle(path: Path) -> Bundle:
    """Open a bundle after checking every file against the manifest, and the manifest itself.

    `path` may also be a folder of bundles, or the pointer in it: its current one is loaded. Raises
    BundleError (BUNDLE_MISSING, NO_CURRENT, CURRENT_INVALID, BUNDLE_FORMAT, BUNDLE_CORRUPT), and
    OSError when the file system fails. No code of the bundle runs.
    """
    if path.name == CURRENT and path.is_file():
        path = path.parent
    if not path.is_dir():
        raise BundleError("BUNDLE_MISSING", f"there is no bundle at {path}")
    path = path.resolve()
    if not (path / MANIFEST).exists():
        current = read_pointer(path)
        if current is None:
            message = f"{path} is no bundle (no {MANIFEST}) and has no current one"
            raise BundleError("NO_CURRENT", message)
        if not (path / current / MANIFEST).exists():
            message = f"{path / CURRENT} names {current}, and there is no such bundle"
            raise BundleError("BUNDLE_MISSING", message)
        return load_bundle(path / current)
    bundle_id, manifest = _read_manifest(path)
    _check_names(path, manifest)
    for name, entry in manifest.files.items():
        if _entry(path / name) != entry:
            raise BundleError("BUNDLE_CORRUPT", f"{name} of {path.name} was changed")
    return _verify(Bundle(bundle_id, path, manifest))


def _read_manifest(path: Path) -> tuple[str, Manifest]:
    """Return the id and the manifest of the bundle in a folder that bears this id."""
    try:
        content = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError("BUNDLE_MISSING", f"there is no bundle at {path}") from None
    bundle_id = bundle_id_of(content)
    if bundle_id != path.name:
        message = (
            f"the folder {path.name} does not bear the id that its {MANIFEST} gives, {bundle_id}: "
            f"rename it back if it was renamed, else {MANIFEST} was changed"
        )
        raise BundleError("BUNDLE_CORRUPT", message)
    try:
        return bundle_id, Manifest.model_validate_json(content)
    except ValidationError as error:
        message = f"{MANIFEST} of {path.name} is not of format {FORMAT_VERSION}: {error}"
        raise BundleError("BUNDLE_FORMAT", message) from error


def _check_names(path: Path, manifest: Manifest) -> None:
    """Check that a bundle has the files that it must have, and no other ones."""
    required = {*files.REQUIRED, *([files.INTEREST_HEAD] if manifest.categories else [])}
    required |= {*files.NEIGHBOURS} if manifest.neighbours else set()
    required |= {files.CANARY} if manifest.canary else set()
    present = {p.relative_to(path) for p in path.rglob("*") if not p.is_dir()}
    names = {p.as_posix() for p in present}
    listed = {*manifest.files, MANIFEST}
    # Files that the operating system left are never read.
    stray = {p.as_posix() for p in present if not any(_is_system_file(part) for part in p.parts)}
    undescribed = set() if manifest.neighbours else listed & {*files.NEIGHBOURS}
    folder = path.resolve()
    outside = {
        p.as_posix()
        for p in present
        if not ((path / p).is_file() and (path / p).resolve().is_relative_to(folder))
    }
    for problem, wrong, step in (
        ("lacks", required - listed, ""),
        ("lacks", listed - names, ""),
        ("has something that is no file of its folder:", listed & outside, ""),
        ("has a file that its manifest does not list:", stray - listed, "; remove it"),
        ("lists neighbours that its manifest does not describe:", undescribed, ""),
    ):
        if wrong:
            message = f"the bundle {path.name} {problem} {sorted(wrong)[0]}{step}"
            raise BundleError("BUNDLE_CORRUPT", message)


def _is_system_file(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FILES


def _verify(bundle: Bundle) -> Bundle:
    """Check that the tables and the vectors of a bundle fit each other."""
    manifest = bundle.manifest
    with _readable("a table of the bundle"):
        ids, vectors = column_of(bundle.path / files.ITEMS, "item_id"), bundle.item_vectors
        num_items = len(ids)
        popularity = bundle.popularity
    _require(len(ids.unique()) == num_items, f"{files.ITEMS} has an item twice")
    _require_form(files.ITEM_VECTORS, vectors, (num_items, manifest.dimension), np.float32)
    finite = bool(np.isfinite(vectors).all())
    _require(finite, f"{files.ITEM_VECTORS} has values that are not finite")
    fits = popularity.shape == (num_items,) and bool(np.isfinite(popularity).all())
    _require(fits, f"{files.POPULARITY} does not fit {files.ITEMS}")
    if manifest.neighbours is not None:
        _verify_neighbours(bundle, manifest.neighbours)
    del bundle.item_vectors  # most services need them no more
    return bundle


def _verify_neighbours(bundle: Bundle, spec: NeighbourSpec) -> None:
    """Check the arrays of neighbours, without a copy of them: they may be large."""
    num_items = len(bundle.item_vectors)
    due = (num_items, spec.count)
    with _readable("the bundle's neighbours"):
        rows, similarities = bundle.neighbour_rows, bundle.neighbour_similarities
    _require_form(files.NEIGHBOUR_ROWS, rows, due, np.int32)
    _require_form(files.NEIGHBOUR_SIMILARITIES, similarities, due, np.float16)
    within = rows.min(initial=0) >= -1 and rows.max(initial=-1) < num_items
    _require(within, f"{files.NEIGHBOUR_ROWS} names a row that is not within [-1, {num_items})")
    # NaN is neither. A negative one would let an item of a page fall below items not looked at.
    good = similarities.min(initial=0) >= 0 and similarities.max(initial=0) < np.inf
    _require(good, f"{files.NEIGHBOUR_SIMILARITIES} has values that are negative or not finite")
    for array in (rows, similarities):
        release(array)  # few of them are those of somebody's items


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Refuse the bundle when what is read inside is no table."""
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system failed; the bundle may be right
        raise BundleError("BUNDLE_CORRUPT", f"{name}: {error}") from error


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BundleError("BUNDLE_CORRUPT", otherwise)


def _require_form(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> None:
    fits = array.shape == shape and array.dtype == dtype
    _require(fits, f"{name} has {array.shape} {array.dtype}, not {shape} {np.dtype(dtype)}")


def _entry(path: Path) -> FileEntry | None:
    """Hash a file; None when there is no such file."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(sha256=digest, size=path.stat().st_size)
    except (FileNotFoundError, IsADirectoryError):
        return None
