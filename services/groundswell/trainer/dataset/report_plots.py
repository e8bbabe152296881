"""Draws what a prepared log holds: users, items, time, sessions and actions."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from groundswell.features.actions import ACTIONS
from groundswell.trainer.dataset.prepared import PICTURE, TEST, TRAIN, VALIDATION, Prepared

_BINS = 30
_TIME_BINS = 60
_LEAST_BARS = 5
_BLUE, _ORANGE, _GREEN, _GREY = "#2f6db3", "#e08a1e", "#3a9d5d", "#777777"
_PARTS = ((TRAIN, "train", _BLUE), (VALIDATION, "validation", _ORANGE), (TEST, "test", _GREEN))
_MARGINS = {"left": 0.06, "right": 0.99, "bottom": 0.06, "top": 0.9, "wspace": 0.25, "hspace": 0.28}
_GAP_TICKS = {1: "1 s", 60: "1 min", 3600: "1 h", 86_400: "1 d", 2_592_000: "30 d"}


def draw_report(prepared: Prepared) -> Path:
    """Write `PICTURE` into the prepared folder and return its path; it names no user or item."""
    figure = Figure(figsize=(13, 7.5))
    # Margins that are known: to compute them would take as long as to draw.
    figure.subplots_adjust(**_MARGINS)
    axes = figure.subplots(2, 3)
    num_events = len(prepared.items)
    figure.suptitle(
        f"{num_events:,} events of {prepared.num_users:,} users on {prepared.num_items:,} items",
        fontsize=13,
    )
    _lengths(axes[0, 0], np.diff(prepared.offsets), "events per user", "users")
    _popularity(axes[0, 1], prepared)
    _over_time(axes[0, 2], prepared)
    _gaps(axes[1, 0], prepared)
    _sessions(axes[1, 1], prepared)
    _actions(axes[1, 2], prepared)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.title.set_fontsize(10)
        one.tick_params(labelsize=8)
    path = prepared.folder / PICTURE
    figure.savefig(path, dpi=110)
    return path


def _lengths(axes: Axes, counts: NDArray[np.integer], what: str, of: str) -> None:
    """Draw how many users or sessions have how many events, on a logarithmic axis."""
    high = max(int(counts.max()), 2)
    edges = np.unique(np.geomspace(counts.min(), high + 1, _BINS).round()) - 0.5
    axes.hist(counts, bins=edges.tolist(), color=_BLUE, edgecolor="white", linewidth=0.4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_whole))
    median = float(np.median(counts))
    axes.axvline(median, color=_GREY, linestyle="--", linewidth=1)
    axes.set_title(f"{what}: median {median:,.0f}, most {counts.max():,}")
    axes.set_ylabel(of, fontsize=8)
    axes.set_xlabel("events", fontsize=8)


def _popularity(axes: Axes, prepared: Prepared) -> None:
    counts = np.sort(np.bincount(prepared.items, minlength=prepared.num_items))[::-1]
    counts = counts[counts > 0]
    head = counts[: max(len(counts) // 10, 1)].sum() / counts.sum()
    axes.loglog(np.arange(1, len(counts) + 1), counts, color=_BLUE, linewidth=1.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_whole))
    axes.set_title(f"items' popularity: the first tenth has {head:.0%} of the events")
    axes.set_xlabel("item, the most popular first", fontsize=8)
    axes.set_ylabel("events", fontsize=8)


def _over_time(axes: Axes, prepared: Prepared) -> None:
    axes.set_title(f"events over time, by set ({prepared.split})")
    if prepared.order_only:
        _nothing(axes, "the times of this log\nare only positions")
        return
    days = prepared.times_us / 86_400e6
    edges = np.linspace(days.min(), max(float(days.max()), days.min() + 1e-3), _TIME_BINS + 1)
    parts = [part for part in _PARTS if (prepared.split_of == part[0]).any()]
    axes.hist(
        [days[prepared.split_of == number] for number, _, _ in parts],
        bins=edges.tolist(),
        stacked=True,
        color=[colour for _, _, colour in parts],
        label=[name for _, name, _ in parts],
    )
    axes.xaxis_date("UTC")
    axes.tick_params(axis="x", rotation=30)
    axes.yaxis.set_major_formatter(FuncFormatter(_whole))
    axes.set_ylabel("events", fontsize=8)
    axes.legend(fontsize=8, frameon=False)


def _gaps(axes: Axes, prepared: Prepared) -> None:
    gap = prepared.meta["session_gap_s"]
    axes.set_title(f"pause before a user's next event, and {gap / 60:g} min: a session's end")
    if prepared.order_only:
        _nothing(axes, "the times of this log\nare only positions")
        return
    same_user = np.diff(prepared.users) == 0
    seconds = np.abs(np.diff(prepared.times_us)[same_user]) / 1e6
    positive = seconds[seconds > 0]
    if len(positive) == 0:
        _nothing(axes, "no two events of a user\nhave different times")
        return
    low, high = min(1.0, float(positive.min())), max(60.0, float(positive.max()) * 1.01)
    axes.hist(positive, bins=np.geomspace(low, high, 2 * _BINS).tolist(), color=_BLUE)
    axes.axvline(gap, color=_ORANGE, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_xticks(list(_GAP_TICKS), list(_GAP_TICKS.values()))
    axes.set_xlim(low, max(high, gap * 1.1))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(_whole))
    axes.set_ylabel("events", fontsize=8)
    zero = f"{1 - len(positive) / len(seconds):.1%} at the same time, not drawn"
    axes.set_xlabel(zero, fontsize=8)


def _sessions(axes: Axes, prepared: Prepared) -> None:
    lengths = np.bincount(prepared.sessions)
    if prepared.order_only and len(lengths) == prepared.num_users:
        axes.set_title("events per session")
        _nothing(axes, "this log has no sessions")
        return
    _lengths(axes, lengths, "events per session", "sessions")


def _actions(axes: Axes, prepared: Prepared) -> None:
    counts = np.bincount(prepared.actions, minlength=len(ACTIONS) + 1)[1:]
    shown = [n for n in np.argsort(counts, kind="stable") if counts[n]]
    bars = axes.barh([ACTIONS[n] for n in shown], counts[shown], color=_BLUE, height=0.6)
    axes.bar_label(bars, [f"{counts[n]:,}" for n in shown], fontsize=8, padding=3)
    axes.margins(x=0.18)
    # One or two actions are bars like many, not blocks.
    axes.set_ylim(len(shown) - max(len(shown), _LEAST_BARS) - 0.5, len(shown) - 0.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("events by action")


def _nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", color=_GREY, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _whole(value: float, _: object) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
