"""A small prepared world that the tests of training share, and what its texts encode to."""

import pytest

from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from tests.support.text_encoders import with_export
from tests.support.worlds import prepared_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    data = prepared_world(tmp_path_factory.mktemp("world"), users=60, items=60)
    return load_prepared(with_export(data))
