"""The command line against the suite's own services, over a tiny bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.support import Services


@pytest.fixture(scope="module")
def services(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Running services that the tests of a module share."""
    with Services(tmp_path_factory.mktemp("services"), bundles) as running:
        yield running
