"""The profile service as a process of its own, called over gRPC."""

import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from groundswell.artifacts.store import load_bundle
from groundswell.client import GroundswellClient, event, item, vector_values
from groundswell.features.text import item_text
from groundswell.profile.v1.profile_service_pb2 import SeenItems
from tests.support.bundles import CATEGORIES, DIMENSION, ITEMS
from tests.support.processes import ROOT, SECRET
from tests.support.suite import Suite

_START = 1_700_000_000


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

    def seen_since(version: int, lineage: str) -> SeenItems:
        held = client.get_profile("seen", known_seen_version=version, known_seen_lineage=lineage)
        return held.seen

    again = seen_since(seen.version, seen.lineage)
    assert (again.version, again.included, again.item_nos) == (seen.version, False, b"")
    client.append_events([event("seen", "item-3")])
    newer = seen_since(seen.version, seen.lineage)
    assert (newer.version > seen.version, newer.included, len(newer.item_nos)) == (True, True, 24)
    # The same number of another lineage, or of none, is another version.
    for lineage in ("", "0" * 32):
        assert seen_since(newer.version, lineage).included


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


def test_a_bad_text_can_fail_alone(client: GroundswellClient) -> None:
    answer = client.encode_texts(["a war", "\0", "a comedy", " "], skip_bad_texts=True)
    assert [bool(vector.values) for vector in answer.vectors] == [True, False, True, False]
    assert [(problem.index, problem.reason) for problem in answer.problems] == [
        (1, "TEXTS_INVALID"),
        (3, "TEXTS_INVALID"),
    ]
    alone = client.encode_texts(["a comedy"])
    assert alone.vectors[0] == answer.vectors[2]
    assert not alone.problems
    assert len(client.encode_texts([""], skip_bad_texts=True).problems) == 1


def test_a_text_that_was_read_lately_is_not_read_again(client: GroundswellClient) -> None:
    first, again = (client.encode_texts(["a text of this test", "another one"]) for _ in range(2))
    assert first.times.tokenise.ToNanoseconds() > 0
    assert first.times.inference.ToNanoseconds() > 0
    assert again.times.inference.ToNanoseconds() == again.times.queue.ToNanoseconds() == 0
    assert list(again.vectors) == list(first.vectors)
    assert client.predict_interests("another one").times.inference.ToNanoseconds() == 0


def test_interests_of_a_text_are_a_distribution(client: GroundswellClient) -> None:
    answer = client.predict_interests("soldiers in a burning war")
    assert sorted(i.category for i in answer.interests) == sorted(CATEGORIES)
    assert sum(i.probability for i in answer.interests) == pytest.approx(1)
    assert answer.unknown_share == 0
    fewer = client.predict_interests("soldiers in a burning war", num_interests=2)
    assert list(fewer.interests) == list(answer.interests[:2])


def test_no_file_of_the_service_holds_a_user_id(service: Suite, client: GroundswellClient) -> None:
    name = "a-very-private-user-name"
    client.append_events([event(name, "item-1")])
    for _ in client.refresh_profiles([name]):
        pass
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    assert any(path.name == "groundswell.db" for path in files)
    assert [path for path in files if name.encode() in path.read_bytes()] == []


def test_what_was_acknowledged_is_there_after_a_kill(
    service: Suite, client: GroundswellClient
) -> None:
    results = client.append_events(event("durable", "item-1", event_id=f"d{n}") for n in range(50))
    assert [r.sequence for r in results] == list(range(1, 51))
    service.profile.kill()
    service.start("profile")
    stored = {e.event.event_id for e in client.list_events("durable")}
    assert stored == {f"d{n}" for n in range(50)}
    again = client.append_events([event("durable", "item-1", event_id="d50")])
    assert again[0].sequence == 51


def test_a_log_is_imported_batch_by_batch_and_again_without_harm(client: GroundswellClient) -> None:
    log = [
        event("imported", ITEMS[n % 30][0], event_id=f"i{n}", time=_START + n) for n in range(95)
    ]
    log[50] = event("imported", "no such item", event_id="i50")
    answers = list(client.import_events(log, batch_size=40))
    assert [a.num_accepted for a in answers] == [40, 39, 15]
    (rejected,) = answers[1].rejected
    assert (rejected.index, rejected.result.reason) == (10, "ITEM_NOT_FOUND")
    again = list(client.import_events(log, batch_size=40))
    assert [a.num_duplicate for a in again] == [40, 39, 15]
    stored = list(client.list_events("imported", page_size=7))
    assert [e.event.event_id for e in stored] == [f"i{n}" for n in range(94, -1, -1) if n != 50]
    assert {e.event.user_id for e in stored} == {""}


def test_items_are_listed_by_number_page_by_page(client: GroundswellClient) -> None:
    listed = list(client.list_items(page_size=7))
    assert [i.item_no for i in listed] == sorted(i.item_no for i in listed)
    assert {i for i, _, _ in ITEMS} <= {i.item_id for i in listed}
    assert next(i for i in listed if i.item_id == "item-3") == client.get_item("item-3")


def test_an_item_comes_back_as_it_was_written(client: GroundswellClient) -> None:
    attributes: dict[str, str | float | bool | Sequence[str]] = {
        "price": 3.5,
        "brand": "acme \u202e 🦆",
        "new": True,
        "tags": ["a", "b"],
    }
    written = item("whole", "T", description="D", categories=["b", "a"], attributes=attributes)
    written.available = False
    client.upsert_items([written])
    stored = client.get_item("whole")
    assert (stored.item_no, stored.revision) > (0, 0)
    assert abs(stored.create_time.seconds - time.time()) < 600
    written.item_no, written.revision = stored.item_no, stored.revision
    written.create_time.CopyFrom(stored.create_time)
    assert stored == written


def test_a_second_process_over_the_same_file_is_refused(
    service: Suite, bundles: Path, tmp_path: Path
) -> None:
    url = service.database_url
    second = Suite(tmp_path, bundles, ("profile",), database_url=url).profile
    with second:
        assert second.wait() == 1
    assert "DATABASE_IN_USE" in second.log()
    assert "Traceback" not in second.log()


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        ((), {"DATABASE_URL": "mysql://x"}, "GROUNDSWELL_DATABASE_URL"),
        ((), {"DATABASE_URL": "sqlite+aiosqlite:///:memory:"}, "names no file"),
        ((), {"WORKER": "0"}, "GROUNDSWELL_WORKER"),
        (("encode",), {"DATABASE_URL": "sqlite+aiosqlite:///x.db"}, "needs PostgreSQL"),
        (("encode", "--device", "abacus"), {}, "GROUNDSWELL_DEVICE"),
        (
            ("encode", "--device", "cuda"),
            {"DATABASE_URL": "sqlite+aiosqlite:///x.db"},
            "PostgreSQL",
        ),
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
