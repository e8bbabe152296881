"""`groundswell bundles` lists the bundles of a folder and moves the pointer between them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from groundswell.artifacts.store import BundleStore
from groundswell.cli.app import app
from tests.support.bundles import tiny_bundle


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, str, str]:
    """A folder of two bundles with their ids; the second one is current."""
    first, second = (tiny_bundle(tmp_path / "bundles", seed=seed).name for seed in (0, 1))
    return tmp_path / "bundles", first, second


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["bundles", *arguments, "--bundles", str(root)])


def state(root: Path) -> dict[str, str]:
    listed = run(root, "list", "--json")
    assert listed.exit_code == 0, listed.output
    return {row["id"]: row["state"] for row in json.loads(listed.output)}


def test_every_bundle_is_listed_with_its_state(folder: tuple[Path, str, str]) -> None:
    root, first, second = folder
    assert state(root) == {first: "previous", second: "current"}
    shown = run(root, "list").output
    assert first in shown
    assert second in shown


def test_a_rollback_serves_the_bundle_before_and_a_second_one_goes_forward(
    folder: tuple[Path, str, str],
) -> None:
    root, first, second = folder
    assert run(root, "rollback").output == f"{first} is current, in the place of {second}\n"
    assert state(root) == {first: "current", second: "previous"}
    assert run(root, "rollback").exit_code == 0
    assert state(root) == {first: "previous", second: "current"}


def test_a_bundle_is_promoted_by_the_beginning_of_its_id(folder: tuple[Path, str, str]) -> None:
    root, first, second = folder
    assert run(root, "promote", first[:8]).exit_code == 0
    assert BundleStore(root).current() == first
    assert run(root, "promote", first).output == f"{first} is in service already\n"
    assert BundleStore(root).previous() == second
    ambiguous = run(root, "promote", "")
    assert ambiguous.exit_code == 1
    assert "several bundles begin with" in str(ambiguous.exception)
    assert "holds no bundle x" in str(run(root, "promote", "x").exception)


def test_a_damaged_bundle_is_not_promoted(folder: tuple[Path, str, str]) -> None:
    root, first, second = folder
    file = root / first / "fusion.onnx"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.unlink()
    file.write_bytes(content)
    for arguments in (("promote", first), ("rollback",)):
        refused = run(root, *arguments)
        assert refused.exit_code == 1
        assert f"fusion.onnx of {first} was changed" in str(refused.exception)
    assert BundleStore(root).current() == second


def test_there_is_nothing_to_roll_back_to_after_the_first_bundle(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    refused = run(tmp_path, "rollback")
    assert refused.exit_code == 1
    assert "no bundle was current" in str(refused.exception)
