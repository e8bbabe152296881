"""After an erasure nothing of a user is found in files, Valkey, logs and memory, nor comes back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundswell.client import event
from groundswell.profile.v1.user_data_service_pb2 import EraseUserResponse, ExportUserResponse
from groundswell.profile_service.store.tables import metadata
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from tests.integration.ranker_service.support import degradations, ids
from tests.support.backups import Backup
from tests.support.bundles import ITEMS
from tests.support.postgres import Postgres, postgres
from tests.support.processes import SECRET
from tests.support.suite import Suite, sqlite_url
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

OLDER = "an older secret for tests"
ANN, VISIT = "ann-whom-nobody-knows", "visit-of-ann-before-she-came"
PSEUDONYMS = Pseudonymizer(OLDER, SECRET)
NEWEST = "the newest"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of its own: rows of other tests, in other schemas, may equal those of ann."""
    with postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    server: Postgres = request.getfixturevalue("server")
    return server.new_database()


def live(suite: Suite) -> None:
    """Ann comes as a visitor, is linked, gets answers and acts on them; and so does bob."""
    suite.fill()
    client = suite.client
    item_ids = [name for name, *_ in ITEMS[:12]]
    visit = [event("", name, "click", session_id=VISIT) for name in item_ids[:3]]
    assert all(result.sequence for result in client.record_events(visit))
    assert client.link_session(VISIT, ANN) == 3
    for user in (ANN, "bob"):
        client.record_events([event(user, name, "view") for name in item_ids])
        answer = client.recommend(user)
        token = answer.attribution_token
        client.record_events([event(user, ids(answer)[0], "click", attribution_token=token)])
    late = event("", item_ids[5], "click", session_id=VISIT)
    client.record_events([late])
    suite.refresh()
    eventually(lambda: client.impressions(ANN).counts and client.impressions("bob").counts)
    eventually(lambda: not client.recommend(ANN).degradations)
    eventually(lambda: not client.recommend("bob").degradations)


def traces(suite: Suite) -> dict[str, bytes]:
    """The bytes that are held of ann: ids, pseudonyms of both secrets, vectors."""
    found = {"id": ANN.encode(), "session": VISIT.encode()}
    for subject in (ANN, subject_id("", VISIT)):
        for version, key in enumerate(PSEUDONYMS.user_keys(subject)):
            name = f"{NEWEST if version else 'an older'} key of {subject!r}"
            found |= {name: key, f"{name}, written": key.hex().encode()}
    parts = list(suite.client.export_user(ANN))
    kinds = {part.WhichOneof("part") for part in parts}
    assert kinds == {"user", "events", "profile", "chunk", "lists"}
    for number, part in enumerate(parts):
        found |= {f"part {number}: {name}": value for name, value in _of_part(part)}
    vectors = (suite.client.get_profile(ANN).vector, suite.client.encode_session(ANN).vector)
    return found | {f"vector {n}": vector.values[:64] for n, vector in enumerate(vectors)}


def _of_part(part: ExportUserResponse) -> Iterator[tuple[str, bytes]]:
    for stored in part.events.events:
        yield stored.event.event_id, stored.event.event_id.encode()
        if stored.event.attribution_token:
            yield "token", stored.event.attribution_token.encode()
    for shown in part.lists.lists:
        yield shown.recommendation_id, shown.recommendation_id.encode()
    if part.HasField("chunk"):
        yield "chunk", part.chunk.vector[:64]
        yield "hash", part.chunk.content_hash
    if part.HasField("profile"):
        yield "recent", part.profile.recent


def where(found: dict[str, bytes], files: list[Path]) -> list[tuple[str, str]]:
    """The files that hold any of the traces, each with the name of that."""
    places = []
    for path in files:
        content = path.read_bytes()
        places += [(path.name, name) for name, trace in found.items() if trace in content]
    return places


def in_valkey(valkey: Valkey, found: dict[str, bytes]) -> list[str]:
    keys = valkey.run("KEYS", "*")
    content = b"".join(key + valkey.run("DUMP", key) for key in keys)
    marks = [PSEUDONYMS.mark(ANN), PSEUDONYMS.mark(subject_id("", VISIT))]
    return [name for name, trace in found.items() if trace in content] + [
        "mark" for mark in marks if mark in content
    ]


class Stored:
    """The files of a database."""

    def __init__(self, url: str, folder: Path, server: Postgres | None) -> None:
        self._folder, self._server = folder, server
        self._schema = url.rpartition("%3D")[2]

    def compact(self) -> None:
        """Do what docs/privacy.md says; SQLite needs nothing."""
        if self._server is not None:
            for name in metadata.tables:
                self._server.run(f"VACUUM (FULL, ANALYZE) {self._schema}.{name}")
            self._server.run("VACUUM (FULL) pg_statistic")
            self._server.run("CHECKPOINT")

    def files(self) -> list[Path]:
        """The files that hold rows, or held them."""
        if self._server is None:
            return sorted(self._folder.glob("groundswell.db*"))
        return self._server.data_files()


@pytest.fixture
def stored(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Stored:
    is_sqlite = database_url.startswith("sqlite")
    server = None if is_sqlite else request.getfixturevalue("server")
    return Stored(database_url, tmp_path, server)


@pytest.fixture
def suite(tmp_path: Path, tiny: Path, database_url: str, valkey: Valkey) -> Iterator[Suite]:
    secrets = {"GROUNDSWELL_PREVIOUS_SECRETS": OLDER}
    windows = {"GROUNDSWELL_WINDOWS_URL": valkey.url, "GROUNDSWELL_WINDOWS_TIMEOUT_S": "2"}
    kept = {"GROUNDSWELL_ERASURES": str(tmp_path / "tombstones")}
    settings = {"profile": secrets | kept, "session": secrets | windows, "ranker": secrets}
    with Suite(tmp_path, tiny, database_url=database_url, settings=settings) as running:
        yield running


def test_nothing_of_an_erased_user_is_left_anywhere_nor_comes_back(
    suite: Suite,
    stored: Stored,
    valkey: Valkey,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    live(suite)
    client, found = suite.client, traces(suite)
    stored.compact()
    held = {name for _, name in where(found, stored.files())}
    assert held >= {n for n in found if n.startswith((NEWEST, "part")) and "written" not in n}
    assert set(in_valkey(valkey, found)) == {"mark"}
    backup = Backup(suite.database_url, tmp_path_factory.mktemp("backup"))

    counted = _by_store(client.erase_user(ANN, count_only=True))
    assert all(counted[name] for name in counted if name != "stale_users")
    receipt = client.erase_user(ANN)
    deleted = _by_store(receipt)
    assert deleted.pop("cached_profiles") > 0
    assert (deleted, receipt.kept_outside) == (counted, True)
    stored.compact()
    files = [*stored.files(), *tmp_path.glob("*.log"), tmp_path / "tombstones"]
    assert where(found, files) == []
    eventually(lambda: in_valkey(valkey, found) == [])
    assert client.encode_session(ANN).num_window_events == 0
    old = event(ANN, ITEMS[0][0], "click", time=time.time() - 60)
    assert [one.reason for one in client.record_events([old])] == ["EVENT_ERASED"]

    # What the ranker keeps for an outage is gone too, and what the backup has.
    suite.session.kill()
    suite.profile.stop()
    assert degradations(client.recommend(ANN)) >= {"POPULARITY_FALLBACK"}
    assert "POPULARITY_FALLBACK" not in degradations(client.recommend("bob"))
    backup.restore()
    suite.start("profile")
    assert list(client.list_events(ANN)) == []
    # The lists of the answers since may have come meanwhile: they are of a new history.
    parts = list(client.export_user(ANN))
    assert {part.WhichOneof("part") for part in parts} - {"lists"} == {"user", "erasure"}
    assert not {trace for part in parts for _, trace in _of_part(part)} & set(found.values())
    assert len(list(client.list_events("bob"))) == 13


def _by_store(answer: EraseUserResponse) -> dict[str, int]:
    return {one.store: one.num_rows for one in answer.stores}
