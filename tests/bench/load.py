"""suite.load: the three real processes at growing rates of calls, until they no longer keep up."""

import asyncio
import json
from pathlib import Path

from groundswell.cli.load import curve, plot
from groundswell.cli.load.mix import drawn
from groundswell.client import AsyncGroundswellClient, Deadlines
from tests.bench.harness import Line, Side, calls_per_s
from tests.bench.suite import USERS, served_suite
from tests.bench.world import world
from tests.support.suite import Suite

_MIX = {"recommend": 8.0, "record": 1.0, "similar": 1.0}
_PLAN = curve.LoadPlan(rate=25, growth=1.4, step_s=8, warm_up_s=4, max_s=120)
_FOLDER = Path("build/bench")
_CALLERS = 8


def measure(folder: Path) -> list[Line]:
    """Measure the best goodput against callers that wait for each answer; keep curve and PNG."""
    with served_suite(folder / "suite") as suite:
        steps, closed = asyncio.run(_measure(suite))
    _FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(curve.report(steps, _PLAN, mix=_MIX), indent=2)
    (_FOLDER / "load.json").write_text(text + "\n")
    plot.draw(steps, "The suite under a growing load", _FOLDER / "load.png")
    best = max(steps, key=lambda step: step.goodput)
    calm = [step for step in steps if not step.is_saturated] or steps
    return [
        Line("suite.load", best.goodput / closed, f"× {_CALLERS} waiting callers, {closed:.0f}/s"),
        Line("suite.load.goodput", best.goodput, f"answers in time/s, of {best.rate:.0f} calls"),
        Line("suite.load.p99_ms", calm[-1].latency_ms["p99"], f"ms, at {calm[-1].rate:.0f}/s"),
        Line(
            "suite.load.first.p99_ms", steps[0].latency_ms["p99"], f"ms, at {steps[0].rate:.0f}/s"
        ),
    ]


async def _measure(suite: Suite) -> tuple[list[curve.Step], float]:
    items = [item_id for item_id, _, _ in world().items]
    deadlines = Deadlines(read_s=_PLAN.deadline_s, write_s=_PLAN.deadline_s)
    async with AsyncGroundswellClient(
        suite.targets, deadlines=deadlines, throttling=False
    ) as client:
        ask = drawn(client, _MIX, USERS, items)
        steps = await curve.measure(ask, _PLAN, lambda _: None)
        closed = await calls_per_s({"waiting": Side(ask)}, _CALLERS)
    return steps, closed["waiting"]
