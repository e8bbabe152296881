"""The command line against the suite's own services, over a tiny bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from groundswell.cli.suite.deployment import free_ports
from tests.support.cli import Up


@pytest.fixture(scope="module")
def up(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Running services that the tests of a module share."""
    with Up(bundles, tmp_path_factory.mktemp("up"), free_ports()) as running:
        running.wait_ready()
        yield running
