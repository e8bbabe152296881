"""The databases that writes are measured over: a file of SQLite and a durable PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from groundswell.client import Deadlines, item
from tests.bench.world import world
from tests.support.postgres import postgres
from tests.support.suite import Suite

KINDS = ("sqlite", "postgresql")
NUM_USERS = 20_000
"""So many that no user fills a chunk: the encoder's own work is another line."""


@contextmanager
def suite_over(kind: str, folder: Path, names: Sequence[str]) -> Iterator[Suite]:
    """Start services over an empty database of a kind that waits for its disk, with a catalogue."""
    place = folder / kind
    place.mkdir(mode=0o755)
    if kind == "sqlite":
        with _filled(place, names, "") as suite:
            yield suite
        return
    with (
        postgres(place, durable=True) as server,
        _filled(place, names, server.new_database()) as suite,
    ):
        yield suite


@contextmanager
def _filled(folder: Path, names: Sequence[str], url: str) -> Iterator[Suite]:
    # Over PostgreSQL the encoder worker is a process of its own.
    settings = {"profile": {"GROUNDSWELL_WORKER": "false"}} if url else {}
    bundles = world().bundles
    with Suite(
        folder, bundles, names, database_url=url, settings=settings, deadlines=Deadlines()
    ) as suite:
        items = [item(i, title, categories=names_) for i, title, names_ in world().items[:1_000]]
        suite.client.upsert_items(items)
        yield suite


def item_ids() -> list[str]:
    """The items of the catalogue."""
    return [item_id for item_id, _, _ in world().items[:1_000]]
