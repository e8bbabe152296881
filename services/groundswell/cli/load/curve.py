"""Measures what becomes of calls at growing rates, until most are no longer answered in time."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from groundswell.cli.load.open_loop import open_loop
from groundswell.client import GroundswellError

Ask: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""Makes one call, and returns the names of the degradations. Raises GroundswellError."""

ANSWERED, LATE = "answered", "answered late"
_SATURATED_SHARE = 0.9
_PERCENTS = (50, 90, 99)


@dataclass(frozen=True)
class LoadPlan:
    """How long to call, and how often."""

    rate: float = 20.0
    """Calls a second of the first step."""
    growth: float = 1.5
    """The rate of a step over that of the one before; above 1."""
    max_rate: float = 20_000.0
    step_s: float = 10.0
    warm_up_s: float = 5.0
    """Calls at the first rate before the first step, which are not counted."""
    max_s: float = 300.0
    """No step begins that would end later."""
    deadline_s: float = 1.0
    """A call that is not answered so long after it was due counts as late."""

    def rates(self) -> list[float]:
        """The rates of all steps that fit into the plan."""
        rates: list[float] = []
        rate, end_s = self.rate, self.warm_up_s + self.step_s
        while rate <= self.max_rate and end_s <= self.max_s:
            rates.append(rate)
            rate, end_s = rate * self.growth, end_s + self.step_s
        return rates


@dataclass(frozen=True)
class Step:
    """What became of the calls at one rate."""

    rate: float
    """Calls a second that were due."""
    goodput: float
    """Answers in time a second."""
    outcomes: dict[str, int]
    """Calls by how they ended: answered, answered late, or the status and reason of the error."""
    degradations: dict[str, int]
    """Answers by what was less in them; an answer may count several times."""
    latency_ms: dict[str, float]
    """Percentiles of all answers, also late ones, from when the call was due; empty without any."""
    start_late_ms: float
    """How late the driver started calls, the 99th percentile: the driver itself was too slow where
    this is not far below the latency."""

    @property
    def is_saturated(self) -> bool:
        """Whether less than 90 % of the calls were answered in time."""
        return self.outcomes.get(ANSWERED, 0) < _SATURATED_SHARE * sum(self.outcomes.values())


@dataclass
class _Tally:
    """Makes calls, and counts how they end."""

    ask: Ask
    deadline_s: float
    outcomes: Counter[str] = field(default_factory=Counter)
    degradations: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)

    async def call(self, due: float) -> None:
        self.starts_s.append(time.perf_counter() - due)
        try:
            degradations = await self.ask()
        except GroundswellError as error:
            self.outcomes[f"{error.status.name} {error.reason}".strip()] += 1
            return
        latency_s = time.perf_counter() - due
        self.latencies_s.append(latency_s)
        self.outcomes[ANSWERED if latency_s <= self.deadline_s else LATE] += 1
        self.degradations.update(degradations)

    def step(self, rate: float, seconds: float) -> Step:
        latencies_ms = 1e3 * np.percentile(self.latencies_s or [0.0], (*_PERCENTS, 100))
        names = (*(f"p{percent}" for percent in _PERCENTS), "max")
        return Step(
            rate=rate,
            goodput=self.outcomes[ANSWERED] / seconds,
            outcomes=dict(self.outcomes.most_common()),
            degradations=dict(self.degradations.most_common()),
            latency_ms=dict(zip(names, latencies_ms.round(3).tolist(), strict=True))
            if self.latencies_s
            else {},
            start_late_ms=round(1e3 * float(np.percentile(self.starts_s, 99)), 3),
        )


async def measure(ask: Ask, plan: LoadPlan, tell: Callable[[int], None]) -> list[Step]:
    """Return a step for each rate up to the first one that is too much, which is the last.

    `tell` gets the number of calls that have ended, a few times a second.
    """
    num_before, steps = 0, list[Step]()
    if plan.warm_up_s:
        await open_loop(_Tally(ask, plan.deadline_s).call, plan.rate, plan.warm_up_s)
    for rate in plan.rates():
        tally = _Tally(ask, plan.deadline_s)
        telling = asyncio.create_task(_tell(tally, num_before, tell))
        try:
            await open_loop(tally.call, rate, plan.step_s)
        finally:
            telling.cancel()
        num_before += tally.outcomes.total()
        steps.append(tally.step(rate, plan.step_s))
        if steps[-1].is_saturated:
            break
    return steps


async def _tell(tally: _Tally, num_before: int, tell: Callable[[int], None]) -> None:
    while True:
        tell(num_before + tally.outcomes.total())
        await asyncio.sleep(0.2)


def report(steps: Sequence[Step], plan: LoadPlan, **about: Any) -> dict[str, Any]:
    """Everything as JSON: `about`, the plan, the best goodput, and the steps."""
    best = max(step.goodput for step in steps)
    return {
        **about,
        "plan": asdict(plan),
        "best_goodput": best,
        "is_saturated": steps[-1].is_saturated,
        "steps": [asdict(step) for step in steps],
    }
