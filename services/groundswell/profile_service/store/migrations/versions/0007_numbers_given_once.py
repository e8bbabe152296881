"""Never give the number of a deleted user to another one.

An anonymous session that expires is a deleted user, and what others keep of a history names it by
that number. PostgreSQL gives no number twice anyway.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Let SQLite remember the highest number that it gave out."""
    if op.get_bind().dialect.name == "sqlite":
        options = {"sqlite_autoincrement": True}
        with op.batch_alter_table("users", recreate="always", table_kwargs=options):
            pass
