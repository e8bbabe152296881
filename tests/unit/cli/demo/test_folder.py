"""The demo replaces what an earlier demo made, and nothing else."""

from pathlib import Path

import pytest

from groundswell.trainer.errors import DataError
from tests.support.in_process import run


def test_a_folder_with_a_state_or_bundles_of_somebody_is_never_emptied(tmp_path: Path) -> None:
    kept = [tmp_path / "state/groundswell.db", tmp_path / "bundles/mine/manifest.json"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    ended = run("demo", "--dir", str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"groundswell: {tmp_path} holds other files than those of an earlier demo, and would "
        "be replaced: choose another --dir\n"
    )
    assert [path.read_text() for path in kept] == ["mine", "mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundles", "state"]


@pytest.mark.parametrize("mark", ["demo.txt", "services.log", None])
def test_the_demo_goes_on_in_its_own_folder_and_in_a_new_one(
    tmp_path: Path, mark: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise DataError("no network")

    monkeypatch.setattr("groundswell.cli.demo.model.get_movielens", unreachable)
    if mark:
        (tmp_path / mark).write_text("")
    for _ in range(2):
        ended = run("demo", "--dir", str(tmp_path))
        assert (ended.returncode, ended.stderr) == (1, "groundswell: no network\n")
