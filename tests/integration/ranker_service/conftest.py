"""Rankers over upstreams that answer as a test says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ranker_service.support import Ranker, scripted_ranker
from tests.support.bundles import tiny_bundle


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tiny bundles of the same items, each in a folder of bundles of its own."""
    root = tmp_path_factory.mktemp("bundles")
    return [tiny_bundle(root / str(seed), seed=seed) for seed in range(3)]


@pytest.fixture(scope="session")
def tiny(made: list[Path]) -> Path:
    """A folder of bundles whose only one is current; not to be changed."""
    return made[0].parent


@pytest.fixture(scope="module")
def shared_ranker(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Ranker]:
    """One process for the tests of a module."""
    with scripted_ranker(tmp_path_factory.mktemp("ranker"), tiny) as ranker:
        yield ranker


@pytest.fixture
def ranker(shared_ranker: Ranker) -> Ranker:
    """The module's process over upstreams that know nobody and answer at once."""
    shared_ranker.scripted.forget()
    return shared_ranker
