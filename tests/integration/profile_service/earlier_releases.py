"""The SQL that earlier releases send, to run it on the tables of today."""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from groundswell.profile_service.store.database import DatabaseConnection


@dataclass(frozen=True)
class Release:
    """A release, by the revision of its tables, and what its profiles hold."""

    revision: str
    profile: dict[str, Any] = field(default_factory=dict)


FIRST = Release("0001", {"tail_length": 2, "tail_vector": b"\0" * 32})
SECOND = Release("0002", {"recent": b""})
RELEASES = (FIRST, SECOND)

_KEY = {"fingerprint": "a text encoder:fp32:1", "chunk_length": 4}


def write_item(connection: DatabaseConnection, item_id: str) -> int:
    """Store an item as the catalogue did, and have it encoded; return its number."""
    revision = _value(
        connection,
        "UPDATE counters SET value = value + 1 WHERE name = 'catalogue_revision' RETURNING value",
    )
    row = {
        "item_id": item_id,
        "title": f"The {item_id}",
        "description": "",
        "categories": json.dumps(["drama"]),
        "attributes": "{}",
        "available": True,
        "deleted": False,
        "revision": revision,
    }
    number = _value(connection, f"{_insert('items', row)} RETURNING item_no", row)
    _put(connection, "stale_items", {"item_no": number}, _work(revision), ["version"])
    again = {"title": "Another", "revision": revision, "n": number}
    change = "UPDATE items SET title = :title, revision = :revision WHERE item_no = :n"
    connection.execute(text(change), again)
    return number


def append_event(connection: DatabaseConnection, key: bytes, item_no: int, n: int) -> int:
    """Store a user's n-th event as the log did, and mark the user; return its number."""
    user = {"user_key": key, "last_sequence": 0}
    connection.execute(text(f"{_insert('users', user)} ON CONFLICT (user_key) DO NOTHING"), user)
    find = "SELECT user_no FROM users WHERE user_key = :key"
    number = _value(connection, find, {"key": key})
    row = {
        "user_no": number,
        "sequence": n,
        "event_id": f"e{n}",
        "item_no": item_no,
        "action": 2,
        "value": None,
        "time_us": n,
        "ordinal": 0,
        "session_id": "",
        "attribution_token": "",
        "stored_us": 1,
    }
    connection.execute(text(_insert("events", row)), row)
    count = "UPDATE users SET last_sequence = :n WHERE user_no = :user"
    connection.execute(text(count), {"n": n, "user": number})
    _put(connection, "stale_users", {"user_no": number}, _work(n), ["version"])
    return number


def work(
    connection: DatabaseConnection, release: Release, user_no: int, item_no: int, n: int
) -> None:
    """Claim everything, store a profile and a text's vector, and finish, as the worker did."""
    for table, subject in (("stale_users", "user_no"), ("stale_items", "item_no")):
        claim = f"UPDATE {table} SET owner = 'x', due_us = 9, attempt = attempt + 1"
        version = f"{claim} RETURNING {subject}, version, attempt"
        assert (connection.execute(text(version))).all()
        done = f"DELETE FROM {table} WHERE owner = 'x'"
        connection.execute(text(done))
    profile = {
        "covered_sequence": n,
        "covered_us": n,
        "last_event_us": n,
        "num_chunks": 0,
        **release.profile,
    }
    _put(connection, "profiles", {"user_no": user_no, **_KEY}, profile, list(profile))
    vector = {"content_hash": b"hash", "vector": b"\0" * 32}
    key = {"item_no": item_no, "fingerprint": _KEY["fingerprint"]}
    _put(connection, "item_texts", key, vector, list(vector))


def _work(version: int) -> dict[str, Any]:
    return {"version": version, "marked_us": 1, "due_us": 1, "owner": "", "attempt": 0}


def _put(
    connection: DatabaseConnection,
    table: str,
    key: dict[str, Any],
    values: dict[str, Any],
    changed: list[str],
) -> None:
    changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
    row = key | values
    connection.execute(text(f"{_insert(table, row)} {conflict}"), row)


def _insert(table: str, row: dict[str, Any]) -> str:
    names = ", ".join(row)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"


def _value(
    connection: DatabaseConnection, statement: str, values: dict[str, Any] | None = None
) -> int:
    return int((connection.execute(text(statement), values or {})).scalar_one())
