"""One tiny bundle for the tests of the session encoder."""

from pathlib import Path

import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle


@pytest.fixture(scope="session")
def bundle(bundles: Path) -> Bundle:
    return load_bundle(bundles)
