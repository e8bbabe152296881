"""Makes the triggers through which a connection of SQLite notes the changes that it makes.

Those of PostgreSQL are part of its tables: see revision 0005.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from groundswell.profile_service.store.changes import (
    EVERYTHING,
    GONE_USER,
    ITEM,
    USER,
    changes_made,
)

_WATCHED = {
    "users": (USER, "user_no"),
    "profiles": (USER, "user_no"),
    "profile_chunks": (USER, "user_no"),
    "item_texts": (ITEM, "item_no"),
    "identity": (EVERYTHING, "0"),
}
"""What a change of a row of each table is a change of."""


def collect_changes(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Let a connection of SQLite note what each of its statements changes; see `changes_made`.

    The triggers belong to the connection. So the file stays one that every program can write, and
    what another program writes is not noticed. A database without tables gets none.
    """
    driver: Any = connection
    changes = changes_made(entry)
    driver.create_function("note_change", 2, lambda kind, number: changes.add((kind, number)))
    for statement in _triggers():
        driver.execute(statement)


def _triggers() -> Iterator[str]:
    for table, (kind, number) in _WATCHED.items():
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            noted = GONE_USER if (table, event) == ("users", "DELETE") else kind
            subject = number if number == "0" else f"{row}.{number}"
            yield (
                f"CREATE TEMP TRIGGER note_{table}_{event} AFTER {event} ON main.{table} "
                f"BEGIN SELECT note_change('{noted}', {subject}); END"
            )
