"""What the comparison with another library hands over, and what it makes of two sides' curves."""

import dataclasses

import numpy as np
import pytest

from groundswell.trainer.errors import DataError
from tests.bench.peers import report, split
from tests.bench.peers.ours import Curve, Ours
from tests.bench.peers.peer import Peer, settings_of
from tests.unit.trainer.memory import prepared_of

VALIDATION, TEST = 1, 2


def test_a_peer_trains_on_training_events_alone_and_ranks_after_everything_earlier() -> None:
    prepared = prepared_of(
        [[0, 1, 2, 3], [3, 2, 1]], held_out=[(VALIDATION, TEST), (VALIDATION, TEST)]
    )
    job = split.job(prepared)
    assert job["items"] == [0, 1, 2, 3, 3, 2, 1]
    assert job["training"] == [[0, 2], [4, 5]]
    assert job["validation"] == [[0, 2], [4, 5]]
    assert job["test"] == [[0, 3], [4, 6]]


def test_a_target_that_its_user_had_before_is_not_ranked() -> None:
    prepared = prepared_of(
        [[0, 1, 2, 1], [3, 2, 1]], held_out=[(VALIDATION, TEST), (VALIDATION, TEST)]
    )
    assert split.job(prepared)["test"] == [[4, 6]]


def test_a_log_with_items_out_of_training_is_refused() -> None:
    prepared = prepared_of([[0, 1, 2]], held_out=[(VALIDATION, TEST)])
    cold = dataclasses.replace(prepared, cold=np.array([True, False, False]))
    with pytest.raises(DataError, match="out of training"):
        split.job(cold)


def test_the_first_stage_to_validate_as_well_counts() -> None:
    slow = Curve([1.0, 1.0], [0.1, 0.3], [10.0, 20.0])
    quick = Curve([1.0, 1.0], [None, 0.2], [12.0, 14.0])
    assert report.seconds_until([slow, quick], 0.2) == 14.0
    assert report.seconds_until([slow, quick], 0.3) == 20.0
    assert report.seconds_until([slow, quick], 0.31) is None


def test_the_ratio_is_of_the_times_until_the_rivals_best() -> None:
    rival = _peer(Curve([1.0] * 3, [0.1, 0.2, 0.15], [10.0, 20.0, 30.0]))
    one = report.Round(0, _ours(Curve([1.0] * 2, [0.19, 0.2], [4.0, 8.0])), {"sasrec": rival})
    assert report.time_ratio(one) == pytest.approx(8 / 20)
    assert report.time_ratio(one, 0.95) == pytest.approx(4 / 20)


def test_where_the_rivals_best_is_never_reached_nothing_is_claimed() -> None:
    rival = _peer(Curve([1.0], [0.2], [20.0]))
    reached = report.Round(0, _ours(Curve([1.0], [0.3], [1.0])), {"sasrec": rival})
    missed = report.Round(1, _ours(Curve([1.0], [0.1], [1.0])), {"sasrec": rival})
    assert report.figures([reached])["holds"]
    both = report.figures([reached, missed])
    assert both["training_time_ratio"] is None
    assert not both["holds"]
    assert "DOES NOT HOLD" in report.headline([reached, missed])


def test_a_peer_gets_our_sizes_and_what_it_is_told_wins() -> None:
    ours = _ours(Curve([1.0], [0.1], [1.0]))
    sasrec = settings_of("sasrec", ours, {"dropout_rate": 0.2})
    assert (sasrec["n_factors"], sasrec["session_max_len"], sasrec["batch_size"]) == (64, 50, 32)
    assert sasrec["dropout_rate"] == 0.2
    # One place of its window is for the mask.
    assert settings_of("bert4rec", ours, {})["session_max_len"] == 51


def test_ranks_beyond_ten_gain_nothing() -> None:
    assert report.ndcg(np.array([1, 3, 11])) == pytest.approx((1 + 0.5 + 0) / 3)


def _ours(curve: Curve) -> Ours:
    model = {"ndcg@10": 0.1, "hr@10": 0.2}
    return Ours(
        config={"num_heads": 2, "batch_windows": 32, "dropout": 0.3},
        window_length=50,
        curves={"session": curve},
        validation={"fused": 0.1, "short": 0.1},
        seconds=50.0,
        figures={"models": {"fused": model, "short": model}},
    )


def _peer(curve: Curve) -> Peer:
    ranks = np.array([1, 20])
    return Peer({}, {}, curve, 1, 60.0, 4, ranks, ranks)
