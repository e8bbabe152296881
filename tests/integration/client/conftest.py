"""One recording server in the place of each service, and both kinds of clients."""

from collections.abc import Iterator
from typing import Any

import pytest

from groundswell.client import Deadlines
from tests.support.recorder import Recorders, open_client


@pytest.fixture
def suite() -> Iterator[Recorders]:
    suite = Recorders()
    yield suite
    suite.stop()


@pytest.fixture(params=["sync", "aio"])
def client(request: pytest.FixtureRequest, suite: Recorders) -> Iterator[Any]:
    yield from open_client(
        request.param, suite.targets, Deadlines(read_s=5, write_s=7, bulk_s=11, stream_s=13)
    )
