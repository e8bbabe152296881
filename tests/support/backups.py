"""Backups of a real database, as its own tools make and restore them."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from tests.support.postgres import TOOLS


class Backup:
    """A copy of a database as it is now; `restore` puts the database back there.

    A file of SQLite may be in use while it is copied, but not while it is restored. A place of
    PostgreSQL may be in use all the time.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = make_url(url)
        self._copy = folder / "backup"
        if self._is_sqlite:
            with closing(sqlite3.connect(self._file)) as now, closing(self._open_copy()) as copy:
                now.backup(copy)
        else:
            self._run("pg_dump", f"--schema={self._schema}", f"--file={self._copy}")

    def restore(self) -> None:
        """Put the database back to what was copied."""
        if self._is_sqlite:
            for left in ("-wal", "-shm"):
                Path(f"{self._file}{left}").unlink(missing_ok=True)
            self._file.write_bytes(self._copy.read_bytes())
            return
        drop = f'DROP SCHEMA "{self._schema}" CASCADE'
        self._run("psql", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-c", drop, "-f", str(self._copy))

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def _file(self) -> Path:
        return Path(self._url.database or "")

    def _open_copy(self) -> sqlite3.Connection:
        return sqlite3.connect(self._copy)

    @property
    def _schema(self) -> str:
        # The place that `Postgres.new_database` names.
        return str(self._url.query["options"]).rpartition("=")[2]

    def _run(self, tool: str, *arguments: str) -> None:
        query = {name: value for name, value in self._url.query.items() if name != "options"}
        server = self._url.set(drivername="postgresql", query=query)
        url = server.render_as_string(hide_password=False)
        command = [str(TOOLS / tool), f"--dbname={url}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        while "deadlock detected" in done.stderr:
            # The drop locks all tables, and whoever uses some of them may lock in another order.
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
