"""The profile service as a process of its own, called over gRPC."""

import math
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from groundswell.artifacts.store import load_bundle
from groundswell.client import GroundswellClient, GroundswellError, event, item, vector_values
from groundswell.features.chunks import chunk_ages
from groundswell.features.text import chunk_text, item_text
from tests.integration.profile.support import Service
from tests.support.bundles import CATEGORIES, CHUNK_LENGTH, DIMENSION, ITEMS
from tests.support.processes import ROOT, SECRET

_START = 1_700_000_000


@pytest.fixture(scope="module")
def client(service: Service) -> GroundswellClient:
    """The client, with the items of the tiny bundle in the catalogue."""
    service.client.upsert_items(item(i, title, categories=c) for i, title, c in ITEMS)
    return service.client


def _refused(error: GroundswellError) -> tuple[str, str, list[str]]:
    return error.status.name, error.reason, [violation.field for violation in error.violations]


def test_the_long_vector_is_what_the_bundles_head_says_of_the_history(
    client: GroundswellClient, bundles: Path
) -> None:
    places = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    client.append_events(
        event("long", ITEMS[p][0], time=_START + 86_400 * n) for n, p in enumerate(places)
    )
    for _ in client.refresh_profiles(["long"]):
        pass
    profile = client.get_profile("long")
    bundle = load_bundle(bundles)
    encoder = bundle.text_encoder()
    full = [places[k : k + CHUNK_LENGTH] for k in (0, CHUNK_LENGTH)]
    chunks = encoder.encode([chunk_text([ITEMS[p][1] for p in chunk]) for chunk in full])
    tail = encoder.encode([item_text(ITEMS[p][1], ITEMS[p][2]) for p in places[8:]]).mean(0)
    day_us = 86_400_000_000
    ages = chunk_ages(np.array([3, 7]) * day_us, 9 * day_us, use_time=True)
    expected = bundle.profile_head().run(
        chunk_vectors=chunks[None],
        chunk_ages=ages[None],
        num_chunks=np.array([2]),
        tail_vectors=tail[None],
        tail_lengths=np.array([2]),
    )
    # Chunks are stored as float16.
    assert vector_values(profile.vector) == pytest.approx(expected[0], abs=2e-3)
    assert (profile.num_covered_events, profile.num_events, profile.stale) == (10, 10, False)
    assert profile.last_event_time.seconds == _START + 9 * 86_400


def test_seen_items_come_with_their_actions_and_not_twice(client: GroundswellClient) -> None:
    client.append_events(
        [event("seen", "item-1", "view"), event("seen", "item-1", "like"), event("seen", "item-2")]
    )
    seen = client.get_profile("seen").seen
    numbers = struct.unpack("<2q", seen.item_nos)
    masks = dict(zip(numbers, struct.unpack("<2I", seen.action_masks), strict=True))
    by_id = {client.get_item(f"item-{n}").item_no: n for n in (1, 2)}
    assert {by_id[number]: mask for number, mask in masks.items()} == {
        1: 1 << 1 | 1 << 5,
        2: 1 << 2,
    }
    again = client.get_profile("seen", known_seen_version=seen.version).seen
    assert (again.version, again.included, again.item_nos) == (3, False, b"")
    client.append_events([event("seen", "item-3")])
    newer = client.get_profile("seen", known_seen_version=seen.version).seen
    assert (newer.version, newer.included, len(newer.item_nos)) == (4, True, 24)


def test_an_unknown_user_has_an_empty_profile(client: GroundswellClient) -> None:
    profile, known = client.batch_get_profiles(["nobody", "seen"])
    assert (profile.num_events, profile.vector.values, profile.seen.version) == (0, b"", 0)
    assert known.num_events >= 3


def test_a_watcher_gets_each_item_with_the_vector_of_the_bundle(
    client: GroundswellClient, bundles: Path
) -> None:
    client.upsert_items([item("fresh", "A Laughing Winter", categories=["comedy"])])
    for _ in client.refresh_profiles():
        pass
    vectors: dict[str, tuple[float, ...]] = {}
    for answer in client.watch_items():
        vectors |= {c.item.item_id: vector_values(c.vector) for c in answer.changes}
        if answer.caught_up:
            break
    bundle = load_bundle(bundles)
    for item_id, row in bundle.rows.items():
        assert vectors[item_id] == pytest.approx(bundle.item_vectors[row], abs=1e-4)
    encoded = client.encode_texts([item_text("A Laughing Winter", ["comedy"])]).vectors[0]
    assert vectors["fresh"] == pytest.approx(vector_values(encoded), abs=1e-4)
    assert len(vectors["fresh"]) == DIMENSION


def test_a_deletion_reaches_the_watcher(client: GroundswellClient) -> None:
    client.upsert_items([item("gone", "Gone")])
    revision = client.get_item("gone").revision
    client.delete_items(["gone"])
    for answer in client.watch_items(revision):
        changes = {c.item.item_id: c.deleted for c in answer.changes}
        if "gone" in changes:
            assert changes["gone"]
            return


def test_interests_of_a_text_are_a_distribution(client: GroundswellClient) -> None:
    answer = client.predict_interests("soldiers in a burning war")
    assert sorted(i.category for i in answer.interests) == sorted(CATEGORIES)
    assert sum(i.probability for i in answer.interests) == pytest.approx(1)
    assert answer.unknown_share == 0


def test_a_text_that_the_encoder_cannot_read_is_refused(client: GroundswellClient) -> None:
    with pytest.raises(GroundswellError) as caught:
        client.predict_interests("\U0001f9ff\U0001f9ff \U0001f9ff \U0001f9ff")
    assert _refused(caught.value) == ("INVALID_ARGUMENT", "TEXT_UNKNOWN", ["text"])


def test_each_bad_event_is_rejected_for_itself_and_named(client: GroundswellClient) -> None:
    good = event("careful", "item-1", event_id="good")
    bad = {
        "EVENT_ID_INVALID": event("careful", "item-1", event_id=""),
        "USER_ID_INVALID": event("", "item-1"),
        "ITEM_ID_INVALID": event("careful", ""),
        "ACTION_INVALID": event("careful", "item-1", 0),  # type: ignore[arg-type]
        "VALUE_INVALID": event("careful", "item-1", value=math.nan),
        "TIME_INVALID": event("careful", "item-1", time=9e9),
        "ORDINAL_INVALID": event("careful", "item-1", ordinal=-1),
        "SESSION_ID_INVALID": event("careful", "item-1", session_id="\0"),
        "ITEM_NOT_FOUND": event("careful", "no such item"),
    }
    results = client.append_events([good, *bad.values()])
    assert [r.reason for r in results] == ["", *bad]
    assert all(r.detail for r in results[1:])
    assert [e.event.event_id for e in client.list_events("careful")] == ["good"]


def test_bad_requests_are_refused_with_the_field_named(client: GroundswellClient) -> None:
    calls: dict[tuple[str, str], Callable[[], object]] = {
        ("USER_ID_INVALID", "user_id"): lambda: client.get_profile(""),
        ("ITEM_ID_INVALID", "item_id"): lambda: client.get_item("x" * 300),
        ("ITEMS_INVALID", "items"): lambda: client.upsert_items([]),
        ("TITLE_INVALID", "items[0].title"): lambda: client.upsert_items([item("a", "\0")]),
        ("ATTRIBUTES_INVALID", "items[0].attributes.price"): lambda: client.upsert_items(
            [item("a", attributes={"price": math.inf})]
        ),
        ("PAGE_SIZE_INVALID", "page_size"): lambda: list(
            client.list_events("a", page_size=100_000)
        ),
        ("TEXTS_INVALID", "texts[0]"): lambda: client.encode_texts([""]),
        ("EVENTS_INVALID", "events"): lambda: client.append_events([]),
        ("REVISION_INVALID", "since_revision"): lambda: next(iter(client.watch_items(-1))),
    }
    for (reason, field), call in calls.items():
        with pytest.raises(GroundswellError) as caught:
            call()
        assert _refused(caught.value) == ("INVALID_ARGUMENT", reason, [field])


def test_a_bundle_that_is_not_loaded_is_refused(client: GroundswellClient) -> None:
    with pytest.raises(GroundswellError) as caught:
        client.get_profile("long", bundle_id="0123456789abcdef")
    assert caught.value.reason == "BUNDLE_NOT_LOADED"


def test_no_file_of_the_service_holds_a_user_id(
    service: Service, client: GroundswellClient
) -> None:
    name = "a-very-private-user-name"
    client.append_events([event(name, "item-1")])
    for _ in client.refresh_profiles([name]):
        pass
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    assert any(path.name == "groundswell.db" for path in files)
    assert [path for path in files if name.encode() in path.read_bytes()] == []


def test_what_was_acknowledged_is_there_after_a_kill(
    service: Service, client: GroundswellClient
) -> None:
    results = client.append_events(event("durable", "item-1", event_id=f"d{n}") for n in range(50))
    assert [r.sequence for r in results] == list(range(1, 51))
    service.process.kill()
    service.start()
    stored = {e.event.event_id for e in client.list_events("durable")}
    assert stored == {f"d{n}" for n in range(50)}
    again = client.append_events([event("durable", "item-1", event_id="d50")])
    assert again[0].sequence == 51


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        ((), {"DATABASE_URL": "mysql://x"}, "GROUNDSWELL_DATABASE_URL"),
        ((), {"WORKER": "0"}, "GROUNDSWELL_WORKER"),
        (("encode",), {"DATABASE_URL": "sqlite+aiosqlite:///x.db"}, "needs PostgreSQL"),
        (("decode",), {}, "decode"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_a_message(
    arguments: tuple[str, ...], variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    settings = {"SECRET": SECRET, "BUNDLES": str(tmp_path)} | variables
    environment = {f"GROUNDSWELL_{name}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "groundswell.profile_service", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert named in done.stderr
    assert "Traceback" not in done.stderr
