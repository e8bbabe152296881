"""Waits grow with failures in a row, and never exceed their bound."""

from groundswell.runtime.backoff import ExponentialBackoff


def test_waits_double_up_to_the_longest_and_start_over_after_a_success() -> None:
    backoff = ExponentialBackoff(1.0, 5.0, shortest_share=1.0)
    assert [backoff.next_s() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 1.0


def test_waits_are_shortened_at_random_but_not_below_their_share() -> None:
    waits = [ExponentialBackoff(1.0, 5.0, shortest_share=0.75).next_s() for _ in range(200)]
    assert all(0.75 <= wait <= 1.0 for wait in waits)
    assert len(set(waits)) > 100
