"""Replaces a folder by a new one, and mends what a run that was killed while doing so left."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from groundswell.artifacts.workspaces import open_workspace, remove_leftovers

_NEW, _OLD, _MARK = "new", "old", ".replacing-"


@contextmanager
def replacing(folder: Path, kept: Sequence[str] = ()) -> Iterator[Path]:
    """Give an empty folder that takes the place of `folder` once it is complete.

    The new folder also gets the folders of the old one that `kept` names. A killed run leaves the
    old folder or the new one. Killed between the two steps of the exchange it leaves none in place;
    `mend`, and the next run, then bring the old one back.
    """
    # polars reads a ~ at the start of a relative path as somebody's home.
    folder = folder.absolute()
    with open_workspace(folder.parent, _prefix(folder), _bring_back) as workspace:
        new, old = workspace / _NEW, workspace / _OLD
        new.mkdir()
        yield new
        if folder.exists():
            for name in kept:
                if (folder / name).is_dir():
                    shutil.copytree(folder / name, new / name, copy_function=_link)
            folder.rename(old)
        new.rename(folder)


def mend(folder: Path) -> None:
    """Bring back what a run that was killed while it replaced `folder` moved away."""
    folder = folder.absolute()
    if folder.parent.is_dir():
        remove_leftovers(folder.parent, _prefix(folder), _bring_back)


def _prefix(folder: Path) -> str:
    return f".{folder.name}{_MARK}"


def _bring_back(workspace: Path) -> None:
    """Move the old folder of a killed run back when nothing has taken its place."""
    name = workspace.name.removeprefix(".").rpartition(_MARK)[0]
    folder, old = workspace.parent / name, workspace / _OLD
    if old.exists() and not folder.exists():
        old.rename(folder)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
