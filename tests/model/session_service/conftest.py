"""One tiny bundle for the tests of the session encoder."""

from pathlib import Path

import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from tests.support.bundles import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root: Path = tmp_path_factory.mktemp("bundles")
    return load_bundle(tiny_bundle(root))
