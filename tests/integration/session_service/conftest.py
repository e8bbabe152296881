"""A profile service and a session service as processes of their own, over one tiny bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import own_copy
from tests.support.suite import Settings, Suite

APPEND_TIMEOUT_S = 1.0
LIST_TIMEOUT_S = 0.5
_SESSION = {
    "GROUNDSWELL_APPEND_TIMEOUT_S": str(APPEND_TIMEOUT_S),
    "GROUNDSWELL_LIST_TIMEOUT_S": str(LIST_TIMEOUT_S),
    "GROUNDSWELL_WINDOW_TTL_S": "3",
}


def make_suite(folder: Path, bundles: Path, settings: Settings | None = None) -> Suite:
    """Neither service is started yet."""
    return Suite(
        folder, bundles, ("profile", "session"), settings={"session": _SESSION, **(settings or {})}
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Suite]:
    """Both services, serving, with the items of the tiny bundle in the catalogue."""
    folder = tmp_path_factory.mktemp("suite")
    with make_suite(folder, own_copy(bundles, folder / "bundles")) as running:
        running.fill()
        yield running
