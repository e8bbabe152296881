"""Let PostgreSQL tell every listening process which users and items a transaction changed.

The triggers run for processes of the release before too. A message names at most 300 numbers: it
must stay under 8,000 bytes. SQLite has one process, whose connections have triggers of their own.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_ANNOUNCED = {
    "users": ("u", "user_no"),
    "profiles": ("u", "user_no"),
    "profile_chunks": ("u", "user_no"),
    "item_texts": ("i", "item_no"),
    "identity": ("*", "0"),
}

_FUNCTION = """
CREATE FUNCTION tell_changes_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('groundswell_' || TG_TABLE_SCHEMA, TG_ARGV[0] || ':' || string_agg(n, ','))
    FROM (
        SELECT n::text, (row_number() OVER () - 1) / 300 AS part
        FROM (SELECT DISTINCT {number} AS n FROM changed) AS numbers
    ) AS numbered
    GROUP BY part;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    """Make a function for each table, and a trigger for each kind of statement."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, (kind, number) in _ANNOUNCED.items():
        op.execute(_FUNCTION.format(table=table, number=number))
        for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            change = "d" if (table, event) == ("users", "DELETE") else kind
            op.execute(
                f"CREATE TRIGGER tell_{event.lower()} AFTER {event} ON {table} "
                f"REFERENCING {rows} TABLE AS changed "
                f"FOR EACH STATEMENT EXECUTE FUNCTION tell_changes_of_{table}('{change}')"
            )
