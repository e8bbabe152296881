"""Every package that an image installs is pinned to one version and one set of files."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def needed(extra: str) -> set[Requirement]:
    """What an extra needs of other projects, and what all need."""
    found = {Requirement(text) for text in PROJECT["dependencies"]}
    for text in PROJECT["optional-dependencies"][extra]:
        one = Requirement(text)
        if one.name == PROJECT["name"]:
            for inner in one.extras:
                found |= needed(inner)
        else:
            found.add(one)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_all_that_its_extra_needs_with_hashes(lock: Path) -> None:
    """`make locks` writes them anew."""
    text = lock.read_text(encoding="utf-8")
    pinned = dict(
        re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==([^ ]+)", text, re.MULTILINE)
    )
    for one in needed(lock.stem) | needed("traces"):
        version = pinned[canonicalize_name(one.name)]
        assert one.specifier.contains(version, prereleases=True), one
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, is_pin, version = line.partition("==")
        assert not is_pin or pinned.get(name, version) == version
    entries = re.split(r"\n(?=\S)", text)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_every_service_has_a_lock() -> None:
    assert {lock.stem for lock in LOCKS} == {"profile", "worker", "session", "ranker", "train"}
