"""The `current` pointer of a folder of bundles: a small text file that names one bundle.

It is a file, since object stores and `cp -rL` turn a link into a folder. The link that earlier
versions wrote is still read.
"""

import hashlib
from pathlib import Path

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.small_files import replace_text

CURRENT = "current"
PREVIOUS = "previous"
"""The file beside the pointer that holds what the pointer named before; for a rollback."""
MANIFEST = "manifest.json"
_ID_LENGTH = 16
_MAX_BYTES = 4096
"""A file name has at most 255 bytes on every file system that is in use."""


def bundle_id_of(manifest: bytes) -> str:
    """Return the id of the bundle with this manifest: the hash of its bytes."""
    return hashlib.sha256(manifest).hexdigest()[:_ID_LENGTH]


def read_pointer(root: Path) -> str | None:
    """Return the name that the pointer of a folder of bundles holds; None without a pointer.

    Raises BundleError (CURRENT_INVALID) when it names no bundle, and OSError when the file system
    fails.
    """
    path = root / CURRENT
    if path.is_symlink():
        return path.readlink().name
    if path.is_dir():
        return _copied(path)
    return _read(path)


def read_previous(root: Path) -> str | None:
    """Return the name that the pointer held before; None where it never held another one.

    Raises as `read_pointer`.
    """
    return _read(root / PREVIOUS)


def check_pointer(root: Path) -> None:
    """Raise BundleError (CURRENT_INVALID) when the pointer of a folder cannot be replaced."""
    path = root / CURRENT
    if path.is_dir() and not path.is_symlink():
        message = (
            f"{path} is a folder, the copy of a bundle, and must be a file that names one; "
            f"remove or rename it"
        )
        raise BundleError("CURRENT_INVALID", message)


def write_pointer(root: Path, bundle_id: str) -> None:
    """Let the pointer name a bundle, in one atomic step; what it named before is kept.

    Raises BundleError (CURRENT_INVALID) as `check_pointer`, and OSError.
    """
    check_pointer(root)
    try:
        before = read_pointer(root)
    except BundleError:
        before = None  # it names no bundle that a rollback could go to
    if before not in (None, bundle_id):
        # First: a crash in between leaves a previous bundle that is the current one.
        replace_text(root / PREVIOUS, f"{before}\n")
    replace_text(root / CURRENT, f"{bundle_id}\n")


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    return _name(path, content)


def _copied(path: Path) -> str:
    """Return the id of the bundle that a folder `current` is a copy of; it must lie beside it."""
    try:
        bundle_id = bundle_id_of((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        bundle_id = ""
    if bundle_id and (path.parent / bundle_id).is_dir():
        return bundle_id
    message = (
        f"{path} is a folder, and must be a file that names a bundle beside it; "
        + (f"rename it to {bundle_id} and write this name" if bundle_id else "write a bundle's id")
        + f" into a file {CURRENT}"
    )
    raise BundleError("CURRENT_INVALID", message)


def _name(path: Path, content: bytes) -> str:
    """Read a name from the file's bytes; an editor may have added a line end or a mark."""
    try:
        name = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        name = ""
    is_name = name.isprintable() and name not in ("", ".", "..") and not {"/", "\\"} & set(name)
    if not is_name or len(content) > _MAX_BYTES:
        message = f"{path} names no bundle; write the id of a bundle in {path.parent} into it"
        raise BundleError("CURRENT_INVALID", message)
    return name
