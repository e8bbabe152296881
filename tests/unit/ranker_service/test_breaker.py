"""A breaker opens after failures in a row, lets probes through now and then, and closes again."""

from groundswell.ranker_service.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("profile", clock)
    for _ in range(5):
        assert not breaker.is_open
        breaker.failed()
    assert breaker.is_open
    return breaker


def test_failures_with_answers_in_between_do_not_open_it() -> None:
    breaker = Breaker("profile", Clock())
    for _ in range(10):
        for _ in range(4):
            breaker.failed()
        breaker.answered()
    assert not breaker.is_open


def test_one_probe_goes_in_each_half_second_until_one_is_answered() -> None:
    clock = Clock()
    breaker = opened(clock)
    allowed = []
    for _ in range(30):
        clock.now += 0.1
        allowed.append(breaker.may_probe())
        breaker.failed()
    assert 5 <= sum(allowed) <= 6
    breaker.answered()
    assert not breaker.is_open
    # It takes as many failures again.
    opened(clock)
