"""The client sends an overloaded service K times as many calls as it accepts."""

import random
import threading

import grpc
import pytest

from groundswell.client import GroundswellError, OverloadedError
from groundswell.client.aio.calls import AsyncThrottledCalls
from groundswell.client.throttling import MIN_REFUSALS, Throttle
from groundswell.common.v1.event_pb2 import Event

REFUSED = OverloadedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after_s=0.3)
SECOND = 1.0


class Service:
    """A service that accepts so many calls a second, and a client that offers it calls."""

    def __init__(self, *, accepts_per_s: int, seed: int = 0, k: float = 2.0) -> None:
        self.accepts_per_s = accepts_per_s
        self.now = 1_000.0
        self.throttle = Throttle(k=k, clock=lambda: self.now, rng=random.Random(seed).random)

    def offered(self, per_s: int, seconds: int) -> tuple[int, int]:
        """Offer calls; return how many were sent, and how many were accepted."""
        sent = accepted = 0
        for _ in range(seconds):
            in_second = 0
            for _ in range(per_s):
                self.now += SECOND / per_s
                if not self._is_sent():
                    continue
                in_second += 1
                is_accepted = in_second <= self.accepts_per_s
                self.throttle.ended(None if is_accepted else REFUSED)
                accepted += is_accepted
            sent += in_second
        return sent, accepted

    def _is_sent(self) -> bool:
        try:
            self.throttle.check()
        except OverloadedError:
            return False
        return True


def test_a_service_that_accepts_half_of_the_calls_or_more_is_sent_all() -> None:
    service = Service(accepts_per_s=50)
    assert service.offered(100, seconds=60) == (6_000, 3_000)


@pytest.mark.parametrize("k", [1.5, 2.0, 4.0])
def test_an_overloaded_service_is_sent_k_times_what_it_accepts(k: float) -> None:
    service = Service(accepts_per_s=100, k=k)
    service.offered(500, seconds=30)
    sent, accepted = service.offered(500, seconds=30)
    assert accepted == 3_000
    assert sent == pytest.approx(k * accepted, rel=0.05)


def test_all_calls_are_sent_again_soon_after_an_overload() -> None:
    service = Service(accepts_per_s=100)
    service.offered(1_000, seconds=60)
    service.accepts_per_s = 1_000
    service.offered(1_000, seconds=30)
    assert service.throttle.refused_share == 0.0


@pytest.mark.parametrize("per_s", [1, 10, 100])
def test_a_service_that_recovered_is_sent_every_call_after_two_seconds(per_s: int) -> None:
    service = Service(accepts_per_s=0)
    service.offered(100, seconds=30)
    service.accepts_per_s = 1_000
    service.offered(per_s, seconds=3)
    assert service.offered(per_s, seconds=30) == (30 * per_s, 30 * per_s)


@pytest.mark.parametrize("per_s", [1, 5, 20])
def test_few_refusals_keep_no_call_back(per_s: int) -> None:
    service = Service(accepts_per_s=1_000)
    for _ in range(MIN_REFUSALS - 1):
        service.throttle.ended(REFUSED)
    assert service.offered(per_s, seconds=30) == (30 * per_s, 30 * per_s)


async def test_refused_calls_of_one_method_keep_no_call_of_another_back() -> None:
    async def refuses(_request: Event, **_options: float) -> None:
        nothing = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, nothing, nothing, "CANCELLED")

    async def answers(_request: Event, **_options: float) -> str:
        return "answer"

    calls = AsyncThrottledCalls(1.0)
    for _ in range(100):
        with pytest.raises(OverloadedError):
            await calls(refuses, Event(), None, 1.0)  # type: ignore[arg-type]
        assert await calls(answers, Event(), None, 1.0) == "answer"  # type: ignore[arg-type]


def test_a_service_that_refuses_everything_is_still_tried() -> None:
    service = Service(accepts_per_s=0)
    service.offered(100, seconds=60)
    sent, _ = service.offered(100, seconds=10)
    assert sent == pytest.approx(100, rel=0.3)
    service.accepts_per_s = 100
    service.offered(100, seconds=60)
    assert service.throttle.refused_share == 0.0


def test_what_ended_before_the_window_does_not_count() -> None:
    service = Service(accepts_per_s=0)
    service.offered(100, seconds=5)
    assert service.throttle.refused_share > 0.5
    service.now += 11.0
    assert service.throttle.refused_share == 0.0


def test_only_overload_counts_as_refused() -> None:
    throttle = Throttle()
    for _ in range(100):
        throttle.ended(GroundswellError(grpc.StatusCode.UNAVAILABLE, "down"))
        throttle.ended(
            GroundswellError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="STORAGE_FULL")
        )
    assert throttle.refused_share == 0.0


def test_a_local_refusal_says_so_and_when_to_try_again() -> None:
    throttle = Throttle(rng=lambda: 0.0)
    for _ in range(MIN_REFUSALS):
        throttle.ended(REFUSED)
    with pytest.raises(OverloadedError) as raised:
        throttle.check()
    error = raised.value
    assert error.is_local
    assert (error.status, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.retry_after_s == REFUSED.retry_after_s
    assert not REFUSED.is_local


def test_without_throttling_every_call_is_sent() -> None:
    throttle = Throttle(0.0, rng=lambda: 0.0)
    for _ in range(100):
        throttle.check()
        throttle.ended(REFUSED)


def test_calls_of_many_threads_are_all_counted() -> None:
    throttle = Throttle(k=2.0, rng=lambda: 1.0, clock=lambda: 0.0)

    def work() -> None:
        for number in range(5_000):
            throttle.check()
            throttle.ended(REFUSED if number % 4 else None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert throttle.refused_share == pytest.approx((20_000 - 2 * 5_000) / 20_001)
