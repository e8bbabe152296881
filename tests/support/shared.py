"""Folders that take seconds to make: one process makes each, and every test process reads it."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path("build/tests")
"""For what no change of the project's code can change: it is kept from run to run."""

_VARIABLE = "TESTS_SHARED_FOLDER"


def use_run_folder(folder: Path) -> None:
    """Name the folder that the processes of one run share."""
    os.environ[_VARIABLE] = str(folder)


def run_folder() -> Path:
    """The folder that the processes of one run share."""
    return Path(os.environ[_VARIABLE])


def made_once(parent: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` in `parent`, which `make` fills if it does not exist; not to be changed."""
    target, building = parent / name, parent / f"{name}.building"
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            make(building)
            building.rename(target)
    return target
