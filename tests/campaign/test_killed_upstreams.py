"""Profile down, session down, both down: what callers of the ranker get."""

from collections.abc import Iterator, Sequence

import pytest
from rich.console import Console

from tests.support.bundles import serve, tiny_bundle
from tests.support.outages import fill, outage
from tests.support.suite import Suite

CALLS = 3_000


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("suite")
    serve(tiny_bundle(folder / "made"), folder / "bundles")
    with Suite(folder, folder / "bundles") as running:
        fill(running)
        yield running


@pytest.mark.parametrize("names", [("profile",), ("session",), ("profile", "session")])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_999_of_1000_calls_are_answered_and_flagged_in_the_usual_time(
    suite: Suite, names: Sequence[str], seed: int
) -> None:
    found = outage(suite, names, num_calls=CALLS, seed=seed)
    Console().print(
        f"{'+'.join(names)} down: answered {found.answered:.5f}, unflagged "
        f"{found.opening.num_unflagged + found.during.num_unflagged}, p99 "
        f"{found.during.p(99) / found.before.p(99):.2f} x normal"
    )
    assert found.answered >= 0.999
    assert found.opening.num_unflagged == found.during.num_unflagged == 0
    assert found.during.p(99) <= 1.2 * found.before.p(99)
