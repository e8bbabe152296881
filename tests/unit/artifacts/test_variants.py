"""Variants draw stable, independent shares of the users, and a wrong file is refused."""

import json
from pathlib import Path
from random import Random

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


def given(before: Variants, name: str, share: float, seed: int = 0) -> Variants:
    """The variants when one of them is set."""
    slots = before.slots_for(name, share, Random(seed))
    others = tuple(one for one in before.variants if one.name != name)
    return Variants(variants=(*others, Variant(name=name, slots=slots, bundle=BUNDLE)))


def without(before: Variants, name: str) -> Variants:
    return Variants(variants=tuple(one for one in before.variants if one.name != name))


def drawn(among: Variants) -> dict[str, str]:
    """The variant of each user who has one."""
    found = {user: among.of(user) for user in USERS}
    return {user: one.name for user, one in found.items() if one is not None}


def share_of(name: str, users: dict[str, str]) -> float:
    return sum(one == name for one in users.values()) / len(USERS)


def test_each_variant_gets_its_share_of_all_users() -> None:
    variants = Variants()
    for name, share in (("a", 0.1), ("b", 0.3), ("c", 0.6)):
        variants = given(variants, name, share)
    users = drawn(variants)
    assert len(users) == len(USERS)
    for name, share in (("a", 0.1), ("b", 0.3), ("c", 0.6)):
        assert share_of(name, users) == pytest.approx(share, abs=0.015)


def test_what_happens_to_one_variant_moves_no_user_of_another_one() -> None:
    both = given(given(Variants(), "a", 0.5), "b", 0.25)
    of_b = {user for user, name in drawn(both).items() if name == "b"}
    larger, smaller = given(both, "a", 0.7), given(both, "a", 0.1)
    for changed in (larger, smaller, without(both, "a"), given(without(both, "a"), "c", 0.75, 1)):
        assert {user for user, name in drawn(changed).items() if name == "b"} == of_b
    of_a = {user for user, name in drawn(both).items() if name == "a"}
    assert of_a < {user for user, name in drawn(larger).items() if name == "a"}
    assert of_a > {user for user, name in drawn(smaller).items() if name == "a"}
    for share in (0.9, 0.0, 0.0005):
        with pytest.raises(ValueError, match="share"):
            both.slots_for("a", share, Random(0))


def test_who_is_drawn_for_one_experiment_says_nothing_about_another_one() -> None:
    one, other = drawn(given(Variants(), "a", 0.2)), drawn(given(Variants(), "a", 0.2, seed=1))
    both = one.keys() & other.keys()
    assert len(both) / len(USERS) == pytest.approx(0.04, abs=0.015)


def test_what_is_written_is_read_and_a_folder_without_a_file_has_none(tmp_path: Path) -> None:
    assert read_variants(tmp_path) == Variants()
    written = given(given(Variants(), "a", 0.5), "b", 0.5)
    write_variants(tmp_path, written)
    assert read_variants(tmp_path) == written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        {"variants": [{"name": "a", "slots": [5]}]},
        {"variants": [{"name": "a", "slots": [5], "fusion_weight": True}]},
        {"variants": [{"name": "a", "slots": [5], "fusion_weight": "0.5"}]},
        {"variants": [{"name": "a", "slots": [5.5], "bundle": BUNDLE}]},
        {"variants": [{"name": "a", "slots": [True], "bundle": BUNDLE}]},
        {"variants": [{"name": "a", "slots": [1000], "bundle": BUNDLE}]},
        {"variants": [{"name": "a", "slots": [5], "bundle": BUNDLE, "salt": "\u00e9" * 64}]},
        {"variants": [{"name": "a", "slots": [], "bundle": BUNDLE}]},
        {"variants": [{"name": "a", "slots": [5], "bundle": "../x"}]},
        {"variants": [{"name": "a b", "slots": [5], "bundle": BUNDLE}]},
        {"variants": 2 * [{"name": "a", "slots": [5], "bundle": BUNDLE}]},
        {"variants": [{"name": f"v{n}", "slots": [5], "bundle": BUNDLE} for n in range(2)]},
        {"variants": [{"name": f"v{n}", "slots": [n], "bundle": f"{n:016x}"} for n in range(3)]},
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: object) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / VARIANTS).write_bytes(raw)
    with pytest.raises(BundleError) as refused:
        read_variants(tmp_path)
    assert refused.value.reason == "VARIANTS_INVALID"
