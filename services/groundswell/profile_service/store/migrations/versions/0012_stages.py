"""Add the table of stages: their last changes, and the kinds of their attributes."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the table, with the stages that are there."""
    op.create_table(
        "stages",
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("stage", name=op.f("pk_stages")),
    )
    op.create_index(op.f("ix_stages_changed_us"), "stages", ["changed_us"])
    now_us = time.time_ns() // 1000
    op.execute(
        f"INSERT INTO stages SELECT stage, '{{}}', {now_us}"
        " FROM (SELECT DISTINCT stage FROM staged_items) AS known"
    )
