"""A tiny bundle, a random log, and what evaluation says of them."""

from typing import Any

import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.evaluation.evaluate import evaluate
from tests.support.bundles import ITEMS, tiny_bundle
from tests.support.random_log import random_log

NEW_ITEMS = 3
"""Of the log, that the bundle does not know."""


@pytest.fixture(scope="package")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles"), items=ITEMS[:-NEW_ITEMS]))


@pytest.fixture(scope="package")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return random_log(tmp_path_factory.mktemp("log"), ITEMS)


@pytest.fixture(scope="package")
def figures(bundle: Bundle, prepared: Prepared) -> dict[str, Any]:
    return evaluate(bundle, prepared)
