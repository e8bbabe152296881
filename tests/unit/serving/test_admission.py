"""Calls are refused when their wait would not fit, and for no other reason."""

import pytest

from groundswell.serving.admission import DeadlineAdmission


class World:
    """A process with a queue: what its calls take, on a clock of its own."""

    def __init__(self, *, default_s: float = 1.0, longest_s: float = 0.5) -> None:
        self.now = 0.0
        self.cpu = 0.0
        self.admission = DeadlineAdmission(
            default_s=default_s,
            share=0.7,
            longest_s=longest_s,
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu,
        )
        self.running: list[tuple[float, object]] = []

    def offer(self, num: int, remaining_s: float | None = None) -> int:
        """Let calls come at once; return how many were admitted."""
        admitted = 0
        for _ in range(num):
            if self.admission.retry_after_s(remaining_s) is None:
                self.running.append((self.now, self.admission.begin(remaining_s)))
                admitted += 1
        return admitted

    def end_one(self, *, after_s: float, cpu_s: float, answered: bool = True) -> None:
        self.now += after_s
        self.cpu += cpu_s
        _, call = self.running.pop(0)
        self.admission.end(call, answered=answered)  # type: ignore[arg-type]

    def run_alone(self, num: int, *, takes_s: float, cpu_s: float) -> None:
        """Calls one after another."""
        for _ in range(num):
            assert self.offer(1) == 1
            self.end_one(after_s=takes_s, cpu_s=cpu_s)


def test_a_burst_is_admitted_up_to_what_fits_into_a_quarter_of_the_time() -> None:
    world = World()
    world.run_alone(100, takes_s=0.01, cpu_s=0.005)
    admitted = world.offer(600)
    assert admitted == pytest.approx(0.25 * 0.5 / 0.005, abs=2)


def test_the_deadline_of_a_call_decides() -> None:
    world = World()
    world.run_alone(100, takes_s=0.01, cpu_s=0.005)
    world.offer(15)
    assert world.admission.retry_after_s(0.2) is not None
    assert world.admission.retry_after_s(1.0) is None
    assert world.admission.retry_after_s(None) is None


def test_a_refused_call_hears_when_there_will_be_room() -> None:
    world = World()
    world.run_alone(100, takes_s=0.01, cpu_s=0.005)
    while world.offer(1):
        pass
    retry_after_s = world.admission.retry_after_s(None)
    assert retry_after_s is not None
    assert 0.1 <= retry_after_s <= 0.5
    expired = world.admission.retry_after_s(0.0)
    assert expired is not None
    assert expired > retry_after_s


def test_few_calls_are_never_refused_whatever_was_measured() -> None:
    world = World()
    world.run_alone(100, takes_s=0.4, cpu_s=0.4)
    assert world.offer(100) == 8


def test_a_service_that_is_slow_but_not_full_lets_many_in() -> None:
    world = World()
    world.run_alone(50, takes_s=0.3, cpu_s=0.001)
    for _ in range(20):
        admitted = world.offer(100 - len(world.running))
        world.now += 0.3
        for _ in range(len(world.running)):
            world.end_one(after_s=0.0001, cpu_s=0.001)
    assert admitted >= 90


def test_a_service_that_hangs_does_not_close_the_door() -> None:
    world = World()
    world.run_alone(100, takes_s=0.01, cpu_s=0.001)
    for _ in range(10):
        admitted = world.offer(100 - len(world.running))
        world.now += 0.5  # All of the time that a call waits for it.
        for _ in range(len(world.running)):
            world.end_one(after_s=0.0001, cpu_s=0.001)
    assert admitted >= 90


def test_an_overloaded_service_is_found_by_how_calls_slow_down() -> None:
    world = World()
    world.run_alone(100, takes_s=0.01, cpu_s=0.001)
    world.offer(100)
    for _ in range(400):  # It does 100 calls a second, whatever is asked.
        world.end_one(after_s=0.01, cpu_s=0.001)
        world.offer(5)
    assert len(world.running) == pytest.approx(0.25 * 0.5 / 0.01, abs=6)


def test_errors_say_nothing_about_the_time_that_answers_take() -> None:
    world = World()
    world.run_alone(100, takes_s=0.01, cpu_s=0.002)
    before = world.offer(200)
    for _ in range(before):
        world.end_one(after_s=0.0, cpu_s=0.002, answered=False)
    assert world.offer(200) == pytest.approx(before, abs=3)
