"""Variants draw stable, independent shares of the users, and a wrong file is refused."""

import json
from pathlib import Path

import pytest

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.variants import (
    VARIANTS,
    Variant,
    Variants,
    read_variants,
    write_variants,
)

USERS = [f"user-{n}" for n in range(20_000)]
BUNDLE = "0123456789abcdef"


def variant(name: str, share: float, salt: str = "") -> Variant:
    return Variant(name=name, share=share, bundle=BUNDLE, salt=salt or f"{name:-<16}")


def drawn(*variants: Variant) -> dict[str, str]:
    """The variant of each user who has one."""
    among = Variants(variants=variants)
    found = {user: among.of(user) for user in USERS}
    return {user: one.name for user, one in found.items() if one is not None}


def share_of(name: str, users: dict[str, str]) -> float:
    return sum(one == name for one in users.values()) / len(USERS)


def test_each_variant_gets_its_share_of_all_users() -> None:
    users = drawn(variant("a", 0.1), variant("b", 0.3), variant("c", 0.6))
    assert len(users) == len(USERS)
    for name, share in (("a", 0.1), ("b", 0.3), ("c", 0.6)):
        assert share_of(name, users) == pytest.approx(share, abs=0.015)


def test_a_user_keeps_the_variant_and_a_larger_share_keeps_its_users() -> None:
    small, large = drawn(variant("a", 0.1)), drawn(variant("a", 0.25))
    assert small == drawn(variant("a", 0.1))
    assert small.keys() < large.keys()
    assert drawn(variant("a", 1.0)).keys() == set(USERS)


def test_who_is_drawn_for_one_experiment_says_nothing_about_another_one() -> None:
    one, other = drawn(variant("a", 0.2)), drawn(variant("a", 0.2, "b" * 16))
    both = one.keys() & other.keys()
    assert len(both) / len(USERS) == pytest.approx(0.04, abs=0.01)


def test_what_is_written_is_read_and_a_folder_without_a_file_has_none(tmp_path: Path) -> None:
    assert read_variants(tmp_path) == Variants()
    written = Variants(variants=(variant("a", 0.5), variant("b", 0.5)))
    write_variants(tmp_path, written)
    assert read_variants(tmp_path) == written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        {"variants": [{"name": "a", "share": 0.5, "salt": "s" * 16}]},
        {"variants": [{"name": "a", "share": 0, "bundle": BUNDLE, "salt": "s" * 16}]},
        {"variants": [{"name": "a", "share": 0.5, "bundle": "../x", "salt": "s" * 16}]},
        {"variants": [{"name": "a b", "share": 0.5, "bundle": BUNDLE, "salt": "s" * 16}]},
        {"variants": 2 * [{"name": "a", "share": 0.5, "bundle": BUNDLE, "salt": "s" * 16}]},
        {
            "variants": [
                {"name": f"v{n}", "share": 0.6, "bundle": BUNDLE, "salt": "s" * 16}
                for n in range(2)
            ]
        },
        {
            "variants": [
                {"name": f"v{n}", "share": 0.1, "bundle": f"{n:016x}", "salt": "s" * 16}
                for n in range(3)
            ]
        },
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: object) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / VARIANTS).write_bytes(raw)
    with pytest.raises(BundleError) as refused:
        read_variants(tmp_path)
    assert refused.value.reason == "VARIANTS_INVALID"
