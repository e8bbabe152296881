"""The same items are cold whatever else a catalogue holds."""

import pytest

from groundswell.trainer.dataset.cold import cold_items

IDS = [f"item-{n}" for n in range(4000)]


def test_about_the_share_that_was_asked_for_is_cold() -> None:
    assert cold_items(IDS, 0.05, 0).mean() == pytest.approx(0.05, abs=0.015)
    assert not cold_items(IDS, 0, 0).any()


def test_an_item_is_cold_or_not_by_its_id_and_the_seed_alone() -> None:
    chosen = cold_items(IDS, 0.3, 7)
    assert cold_items(IDS[::-1][:50], 0.3, 7).tolist() == chosen[::-1][:50].tolist()
    assert (cold_items(IDS, 0.3, 8) != chosen).any()


def test_a_smaller_share_names_some_of_the_same_items() -> None:
    few, many = cold_items(IDS, 0.1, 1), cold_items(IDS, 0.2, 1)
    assert few.sum() == (few & many).sum() < many.sum()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of cold items"):
        cold_items(IDS, share, 0)
