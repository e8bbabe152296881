"""A folder with one tiny bundle, which takes seconds to make."""

from pathlib import Path

import pytest

from tests.support.bundles import tiny_bundle


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles whose only one is current; not to be changed."""
    root = tmp_path_factory.mktemp("bundles")
    tiny_bundle(root)
    return root
