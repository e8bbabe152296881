"""The tables of erasures. None of them holds an id or a pseudonym."""

from sqlalchemy import JSON, BigInteger, Column, LargeBinary, Table, Text

from groundswell.profile_service.store.tables import metadata

erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("erased_us", BigInteger, nullable=False),
    Column("finished_us", BigInteger, nullable=True),
    Column("counts", JSON, nullable=False),
)
"""The receipts: how many rows of each table were deleted; `finished_us` is null until all are."""

tombstones = Table(
    "tombstones",
    metadata,
    Column("mark", LargeBinary, primary_key=True),
    Column("erasure_id", Text, nullable=False),
    Column("erased_us", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
)
"""The marks of the pseudonyms of erased users (see `serving.pseudonym`), of each of their versions.

Revisions are given out in commit order: who writes has locked the secrets alone.
"""

erased_users = Table(
    "erased_users",
    metadata,
    Column("user_no", BigInteger, primary_key=True, autoincrement=False),
    Column("erasure_id", Text, nullable=False, index=True),
)
"""Users whose rows wait to be deleted. Their keys were replaced, so nobody finds them."""
