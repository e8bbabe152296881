"""Draws the plots of an evaluation's page, each as an <svg> element."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from groundswell.trainer.evaluation.metrics import COMPARED, MAIN
from groundswell.trainer.evaluation.report.svg import INK, MUTED, model_colours, panels, to_svg

Figures = Mapping[str, Any]

_BLUE = "#1f5fa8"
_UNORDERED = ("popularity", "cold")
_KINDS = {
    "position": "place in the session",
    "session": "events in the session",
    "since_last": "time since the last event",
    "history": "events before the target",
    "popularity": "popularity of the target",
    "cold": "the target in training",
}


def models_plot(figures: Figures) -> str:
    """Draw the metrics that models are compared by, with intervals, the best at the top."""
    models = figures["models"]
    colours = model_colours(list(models))
    order = sorted(models, key=lambda name: models[name][MAIN])
    figure, axes = panels(1, len(COMPARED), 10, 0.34 * len(order) + 1)
    for one, metric in zip(axes, COMPARED, strict=True):
        for y, name in enumerate(order):
            low, high = models[name]["ci95"][metric]
            value, strong = models[name][metric], name == "fused"
            one.plot(
                [low, high], [y, y], color=colours[name], lw=5, alpha=0.3, solid_capstyle="butt"
            )
            one.plot(value, y, "o", color=colours[name], ms=8 if strong else 6)
            one.annotate(f"{value:.4f}", (high, y), (6, 0), textcoords="offset points",
                         va="center", fontsize=8.5)  # fmt: skip
        one.set_title(metric.upper())
        one.set_yticks(range(len(order)), order if one is axes[0] else [])
        one.grid(visible=False, axis="y")
        one.grid(visible=True, axis="x")
        one.set_xlim(0, 1.18 * max(models[name]["ci95"][metric][1] for name in order) or 1)
    for label in axes[0].get_yticklabels():
        label.set_color(INK)
        label.set_fontweight("bold" if label.get_text() == "fused" else "normal")
    return to_svg(figure, "models")


def slices_plot(figures: Figures, names: Sequence[str]) -> str:
    """Draw the models' NDCG@10 over every kind of slice with at least two of them."""
    models = figures["models"]
    colours = model_colours(list(models))
    kinds = [kind for kind, parts in models["fused"]["slices"].items() if len(parts) > 1]
    rows = (len(kinds) + 1) // 2
    figure, axes = panels(rows, 2, 10, 3.1 * rows)
    for one, kind in zip(axes, kinds, strict=False):
        parts = models["fused"]["slices"][kind]
        offsets = np.linspace(-0.3, 0.3, len(names))
        for name, offset in zip(names, offsets, strict=True):
            line = "" if kind in _UNORDERED else "-"
            _with_bars(one, models[name]["slices"][kind], offset, colours[name], name, line)
        one.set_xlim(-0.5, len(parts) - 0.5)
        one.set_title(f"by {_KINDS[kind]}")
        one.set_xticks(range(len(parts)), _counted(parts))
        one.set_ylim(bottom=0)
    axes[0].set_ylabel(MAIN.upper())
    for one in axes[len(kinds) :]:
        one.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(names))
    return to_svg(figure, "slices")


def _with_bars(
    axes: Axes, parts: Mapping[str, Figures], offset: float, colour: str, name: str, line: str
) -> None:
    x = np.arange(len(parts)) + offset
    values = [part[MAIN] for part in parts.values()]
    for place, part in zip(x, parts.values(), strict=True):
        axes.plot([place] * 2, part["ci95"][MAIN], color=colour, lw=2.4, alpha=0.3)
    size, width = (5.5, 1.6) if name == "fused" else (4, 0.7)
    axes.plot(x, values, f"o{line}", color=colour, ms=size, lw=width, label=name)


def _counted(parts: Mapping[str, Figures]) -> list[str]:
    return [f"{name}\n{part['targets']:,}" for name, part in parts.items()]


def paired_plot(figures: Figures) -> str:
    """Draw how far the fused model lies above each other one, with intervals, over all targets."""
    found = [
        one
        for one in figures["paired"]
        if (one["metric"], one["slice"], one["a"]) == (MAIN, "all", "fused")
    ]
    colours = model_colours(list(figures["models"]))
    figure, [axes] = panels(1, 1, 10, 0.32 * len(found) + 0.9)
    for y, one in enumerate(reversed(found)):
        colour = colours[one["b"]]
        axes.plot([one["low"], one["high"]], [y, y], color=colour, lw=5, alpha=0.3)
        axes.plot(one["diff"], y, "o", color=colour, ms=6)
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(found)), [f"fused - {one['b']}" for one in reversed(found)])
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("difference in NDCG@10, paired; right of the line the fused model is better")
    return to_svg(figure, "paired")


def alpha_plot(alpha: Figures) -> str:
    """Draw how α is spread and its mean by what it may depend on."""
    kinds = [kind for kind, parts in alpha["by"].items() if len(parts) > 1]
    columns = 3 if len(kinds) > 1 else 2
    rows = (len(kinds) + columns) // columns
    figure, axes = panels(rows, columns, 10, 2.7 * rows)
    counts = np.array(alpha["histogram"])
    edges = np.linspace(0, 1, len(counts) + 1)
    axes[0].bar(edges[:-1], counts / counts.sum(), width=1 / len(counts), align="edge", color=_BLUE,
                edgecolor="white", linewidth=0.5)  # fmt: skip
    axes[0].axvline(alpha["mean"], color=INK, lw=1, ls="--")
    axes[0].set_title(f"α over {alpha['targets']:,} targets: mean {alpha['mean']:.2f}")
    axes[0].set_xlim(0, 1)
    axes[0].set_xlabel("0: the profile alone, 1: the session's window alone")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for one, kind in zip(axes[1:], kinds, strict=False):
        parts = alpha["by"][kind]
        for x, part in enumerate(parts.values()):
            one.plot([x, x], part["ci95"], color=_BLUE, lw=5, alpha=0.3, solid_capstyle="butt")
        one.plot(range(len(parts)), [part["mean"] for part in parts.values()], "o-", color=_BLUE)
        one.set_title(f"by {_KINDS[kind]}")
        one.set_xticks(range(len(parts)), list(parts))
        one.set_ylim(0, 1.02)
    for one in axes[len(kinds) + 1 :]:
        one.set_axis_off()
    return to_svg(figure, "alpha")


def reliability_plot(interests: Figures) -> str:
    """Draw accuracy by confidence, and how many predictions have each confidence."""
    figure, axes = panels(1, 2, 10, 3.4)
    bins = interests["reliability"]
    middle = [(one["low"] + one["high"]) / 2 for one in bins]
    width = 0.92 * (bins[0]["high"] - bins[0]["low"])
    axes[0].plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
    axes[0].bar(middle, [one["accuracy"] for one in bins], width=width, color=_BLUE, alpha=0.3)
    axes[0].plot(
        [one["confidence"] for one in bins], [one["accuracy"] for one in bins], "o", color=_BLUE
    )
    axes[0].set_title(f"how often it is right: calibration error {interests['ece']:.3f}")
    axes[0].set_xlabel("probability of the predicted category")
    axes[0].set_ylabel("share that is right")
    shares = [one["predictions"] / interests["targets"] for one in bins]
    axes[1].bar(middle, shares, width=width, color=_BLUE)
    axes[1].set_title("how sure it is")
    axes[1].set_xlabel("probability of the predicted category")
    axes[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for one in axes:
        one.set_xlim(0, 1)
    axes[0].set_ylim(0, 1)
    return to_svg(figure, "reliability")


def curves_plot(curves: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    """Draw loss and validation NDCG@10 of every stage by epoch."""
    figure, axes = panels(len(curves), 2, 10, 2.1 * len(curves) + 0.3)
    for row, (stage, values) in enumerate(curves.items()):
        for one, (name, colour) in zip(
            axes[2 * row : 2 * row + 2], (("loss", MUTED), ("ndcg", _BLUE)), strict=True
        ):
            found = [np.nan if v is None else v for v in values.get(name, [])]
            what = "loss" if name == "loss" else "validation NDCG@10"
            one.set_title(f"{stage}: {what}")
            if not found or np.isnan(found).all():
                one.text(0.5, 0.5, "not measured", transform=one.transAxes, ha="center",
                         color=MUTED)  # fmt: skip
                one.set_axis_off()
                continue
            one.plot(range(1, len(found) + 1), found, "o-", color=colour, ms=3, lw=1.5)
            one.xaxis.set_major_locator(MaxNLocator(integer=True))
            if name == "ndcg":
                best = int(np.nanargmax(found))
                one.plot(best + 1, found[best], "o", color="#c8443f", ms=6)
                one.set_title(f"{stage}: {what}, best {found[best]:.4f} in epoch {best + 1}")
    for one in axes[-2:]:
        one.set_xlabel("epoch")
    return to_svg(figure, "curves")
