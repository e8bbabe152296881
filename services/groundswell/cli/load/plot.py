"""Draws the curve of a load as a PNG: answers and latencies over the rate of calls."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from groundswell.cli.load.curve import Step

_INK, _GOOD = "#1d2733", "#1f5fa8"
_LATENCIES = {"p50": "#2f9268", "p90": "#e0862b", "p99": "#c8443f"}


def draw(steps: Sequence[Step], title: str, path: Path) -> None:
    """Write the picture to `path`."""
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    rates = [step.rate for step in steps]
    above.set_title(title, loc="left", color=_INK)
    above.plot(rates, rates, ":", color=_INK, label="calls due")
    above.plot(rates, [step.goodput for step in steps], "o-", color=_GOOD, label="answers in time")
    above.set(ylabel="a second", ylim=(0, None))
    for name, colour in _LATENCIES.items():
        below.plot(
            rates, [s.latency_ms.get(name, math.nan) for s in steps], "o-", color=colour, label=name
        )
    below.set(xlabel="calls due a second", ylabel="latency, ms", yscale="log")
    for axes in (above, below):
        _finish(axes)
    figure.savefig(path, format="png", dpi=120)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
