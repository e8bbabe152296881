"""A ranker goes on serving a bundle whose files are cut short in place, as `cp` does."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ranker_service.support import CLICK, VIEW, Ranker, ids, scripted_ranker
from tests.support.bundles import ITEMS, tiny_bundle


@pytest.fixture(scope="module")
def shared_ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranker]:
    """One process for this module, over a bundle with neighbours that it may damage."""
    bundles: Path = tmp_path_factory.mktemp("bundles")
    tiny_bundle(bundles, neighbours=True)
    with scripted_ranker(tmp_path_factory.mktemp("ranker"), bundles) as ranker:
        yield ranker


def test_files_that_are_cut_short_change_no_answer(ranker: Ranker) -> None:
    ranker.add_profile("ann", ranker.user_vector(), r2=CLICK, r20=VIEW)
    ranker.add_session("ann", ranker.user_vector(), r9=CLICK, r4=VIEW)
    before = ids(ranker.client.recommend("ann", page_size=len(ITEMS)))
    for path in ranker.bundle.path.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    assert ids(ranker.client.recommend("ann", page_size=len(ITEMS))) == before
    assert ranker.client.similar_items(ITEMS[3][0])
    assert ranker.process.is_running
