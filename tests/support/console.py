"""The suite that the console's tests look at: a user, a hostile title, and a trained bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from groundswell.artifacts.store import BundleStore
from groundswell.client import event, item
from tests.support.bundles import tiny_bundle, with_manifest
from tests.support.suite import Suite
from tests.support.waiting import eventually

HOSTILE = "<script>alert('1')</script> & \"Dust\""
TRAINING = {
    "seed": 0,
    "num_users": 1_234,
    "last_time_us": 1_700_000_000_000_000,
    "config": {"dimension": 16},
    "curves": {"encoders": {"loss": [5.0, 4.0, 3.5], "ndcg": [0.1, None, 0.3], "seconds": [1, 2]}},
}
METRICS = {"validation.fused.ndcg@10": 0.1234}
START = datetime(2026, 5, 4, 12, tzinfo=UTC)


@contextmanager
def console_suite(folder: Path) -> Iterator[Suite]:
    """Run the services; "ann & bob" has six events, and one item has a hostile title."""
    bundles = folder / "bundles"
    bundles.mkdir()
    made = tiny_bundle(bundles, neighbours=True)
    described = with_manifest(made, bundles, training=TRAINING, metrics=METRICS)
    BundleStore(bundles).set_current(described.name)
    with Suite(folder, bundles) as suite:
        suite.fill()
        suite.client.upsert_items([item("item-6", HOSTILE, categories=["<b>comedy</b>"])])
        suite.client.record_events(
            event("ann & bob", f"item-{row}", "purchase", time=START + timedelta(hours=n))
            for n, row in enumerate((3, 9, 12, 4, 21, 8))
        )
        suite.refresh()
        eventually(lambda: _is_whole(suite), 30)
        yield suite


def _is_whole(suite: Suite) -> bool:
    answer = suite.client.recommend("ann & bob", page_size=20)
    titles = {one.title for one in answer.recommendations}
    return not answer.degradations and HOSTILE in titles
