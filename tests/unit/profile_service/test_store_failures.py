"""Every error of the two databases is an outage, a full disk, or a fault, by its code."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from groundswell.profile_service.store.failures import Cause, cause_of, service_error
from groundswell.serving.errors import ResourceExhausted, Unavailable


def wrapped(error: Exception, base: type[Exception]) -> DBAPIError:
    """As SQLAlchemy hands it on."""
    made = DBAPIError.instance("UPDATE items", {}, error, base)
    assert isinstance(made, DBAPIError)
    return made


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("08006", Cause.GONE),  # connection failure
        ("0A000", Cause.READ_ONLY),  # what a standby says to a transaction that wants to write
        ("25006", Cause.READ_ONLY),
        ("25P03", Cause.BUSY),  # idle in transaction
        ("25P02", None),  # a statement after a failed one
        ("28P01", Cause.GONE),  # wrong password
        ("3D000", Cause.GONE),  # no such database
        ("40001", Cause.BUSY),  # serialization failure
        ("40P01", Cause.BUSY),  # deadlock
        ("53100", Cause.FULL),
        ("53200", Cause.BUSY),  # out of memory
        ("53300", Cause.BUSY),  # too many connections
        ("55P03", Cause.BUSY),  # lock not available
        ("57014", Cause.BUSY),  # statement timeout
        ("57P01", Cause.GONE),  # admin shutdown
        ("57P02", Cause.GONE),  # crash shutdown
        ("57P03", Cause.GONE),  # cannot connect now
        ("58030", Cause.BUSY),  # input and output
        ("22021", None),  # a character that does not fit
        ("23503", None),  # foreign key
        ("42P01", None),  # no such table
        ("XX001", None),  # damaged data
    ],
)
def test_a_state_of_postgresql_decides(code: str, cause: Cause | None) -> None:
    error = psycopg.errors.lookup(code)("some text")
    assert error.sqlstate == code
    assert cause_of(wrapped(error, psycopg.Error)) is cause


def test_an_error_of_sqlite_itself_is_read_as_one_that_sqlalchemy_hands_on() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert cause_of(error) is Cause.FULL
    assert cause_of(sqlite3.ProgrammingError("closed")) is None


def test_a_connection_that_cannot_be_made_is_gone() -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect("host=127.0.0.1 port=1 connect_timeout=2")
    assert cause_of(wrapped(caught.value, psycopg.Error)) is Cause.GONE
    assert cause_of(TimeoutError()) is Cause.GONE
    assert cause_of(PoolTimeoutError()) is Cause.BUSY
    assert cause_of(ValueError()) is None


def test_the_codes_of_sqlite_decide(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    first, second = (sqlite3.connect(file, isolation_level=None, timeout=0) for _ in range(2))
    first.execute("CREATE TABLE t (x)")

    def failing(connection: sqlite3.Connection, statement: str) -> Cause | None:
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute(statement)
        return cause_of(wrapped(caught.value, sqlite3.Error))

    first.execute("BEGIN IMMEDIATE")
    assert failing(second, "BEGIN IMMEDIATE") is Cause.BUSY
    first.execute("COMMIT")
    second.execute("PRAGMA query_only = ON")
    assert failing(second, "INSERT INTO t VALUES (1)") is Cause.READ_ONLY
    pages = first.execute("PRAGMA page_count").fetchone()[0]
    first.execute(f"PRAGMA max_page_count = {pages}")
    assert failing(first, "INSERT INTO t VALUES (zeroblob(100000))") is Cause.FULL
    assert failing(first, "SELECT * FROM nothing") is None
    file.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with sqlite3.connect(file) as damaged:
        assert failing(damaged, "SELECT * FROM t") is None
    first.close()
    second.close()


def test_a_full_disk_is_told_from_an_outage_and_both_say_when_to_try_again() -> None:
    full = service_error(Cause.FULL)
    assert isinstance(full, ResourceExhausted)
    assert full.reason == "STORAGE_FULL"
    for cause in (Cause.GONE, Cause.BUSY, Cause.READ_ONLY):
        error = service_error(cause)
        assert isinstance(error, Unavailable)
        assert error.reason == "STORE_UNAVAILABLE"
        assert error.retry_after_s is not None
    assert full.retry_after_s is not None
