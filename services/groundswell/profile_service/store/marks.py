"""The statement that puts subjects on a work list."""

from functools import cache
from typing import Any

from sqlalchemy import CTE, BigInteger, Table, and_, bindparam, case, literal, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from groundswell.profile_service.store.statements import SERVER_NOW, given_table, insert

NO_OWNER = ""
"""The owner of what is not claimed."""
_BEHIND_US = 0
"""When what waits behind everything else became due."""
MARKED, CLOCK = "marked", "clock_us"
_COLUMNS: dict[str, TypeEngine[Any]] = {"subject": BigInteger(), "version": BigInteger()}


@cache
def given_marks(dialect: str) -> CTE:
    """Return the table of the subjects; another part of a larger statement may read it too."""
    return given_table(dialect, _COLUMNS, MARKED)


@cache
def mark_statement(dialect: str, table: Table, again: bool, behind: bool) -> postgresql.Insert:
    """Return the statement; its parameters are MARKED, and on SQLite the clock's time too."""
    given = given_marks(dialect).c
    time_us = bindparam(CLOCK, type_=BigInteger) if dialect == "sqlite" else SERVER_NOW
    due_us = literal(_BEHIND_US, BigInteger) if behind else time_us
    rows = select(given.subject, given.version, time_us, due_us, literal(NO_OWNER), literal(0))
    (subject,) = table.primary_key.columns.keys()
    columns = [subject, "version", "marked_us", "due_us", "owner", "attempt"]
    statement = insert(dialect, table).from_select(columns, rows.order_by(given.subject))
    new, old = statement.excluded, table.c
    newer = new.version > old.version
    moves = and_(newer, old.owner == NO_OWNER, old.attempt == 0, new.due_us > old.due_us)
    changed: dict[str, object] = {
        "version": case((newer, new.version), else_=old.version),
        "due_us": case((moves, new.due_us), else_=old.due_us),
    }
    if again:
        changed["lost_claims"] = 0
    return statement.on_conflict_do_update(index_elements=[subject], set_=changed)
