"""A file of SQLite that the process may not write is named at the start."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from groundswell.profile_service.store.database import Database
from groundswell.serving.server import StartError

_NOBODY = 65_534


@contextmanager
def without_rights_of_root() -> Iterator[None]:
    """Root may write whatever the mode of a file is."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        Path(name).chmod(0o755)


@pytest.mark.parametrize("existing", [False, True], ids=["serve", "command"])
@pytest.mark.parametrize("modes", [(0o444, 0o755), (0o444, 0o555), (0o644, 0o555)])
async def test_a_read_only_file_or_folder_is_named(
    folder: Path, modes: tuple[int, int], existing: bool
) -> None:
    file = folder / "groundswell.db"
    database = Database(f"sqlite+aiosqlite:///{file}")
    await database.open()
    await database.close()
    for one in (*folder.iterdir(), folder):  # noqa: ASYNC240 - a folder of two files
        if os.geteuid() == 0:
            os.chown(one, _NOBODY, _NOBODY)
        one.chmod(modes[one == folder])
    with without_rights_of_root():
        read_only = Database(f"sqlite+aiosqlite:///{file}")
        with pytest.raises(StartError) as refused:
            await read_only.open(existing=existing)
        await read_only.close()
    assert refused.value.reason == "DATABASE_UNUSABLE"
    assert str(refused.value).startswith(str(file))
