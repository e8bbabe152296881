"""No spoiled bundle is opened, whether or not its manifest has the right hashes."""

import asyncio
from pathlib import Path

import pytest

from groundswell.artifacts.errors import BundleError
from groundswell.ranker_service.settings import RankerSettings
from tests.support.bundles import tiny_bundle
from tests.support.spoiled import NUM_KINDS, open_as_servers_do, spoiled


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("whole"), neighbours=True, canary=True)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RankerSettings:
    monkeypatch.setenv("GROUNDSWELL_SECRET", "for tests alone, and long enough")
    return RankerSettings(bundles=tmp_path)


def test_a_whole_bundle_is_opened(whole: Path, settings: RankerSettings) -> None:
    asyncio.run(open_as_servers_do(whole, settings))


def test_no_spoiled_bundle_is_opened(whole: Path, settings: RankerSettings, tmp_path: Path) -> None:
    for seed in range(NUM_KINDS):
        path, kind = spoiled(whole, tmp_path, seed)
        with pytest.raises(BundleError) as refused:
            asyncio.run(open_as_servers_do(path, settings))
            pytest.fail(f"seed {seed} ({kind}) was opened")
        assert refused.value.reason in ("BUNDLE_CORRUPT", "BUNDLE_FORMAT")
