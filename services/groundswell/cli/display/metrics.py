"""An evaluation as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from groundswell.trainer.evaluation.metrics import MAIN, METRICS, Metric

_SHOWN = [metric for metric in METRICS if metric.in_terminal]
_COLD = "recall@50"
_SIGNIFICANT = 0.05


def table(figures: Mapping[str, Any]) -> RenderableType:
    """The models side by side, by their place in the session, compared, and the interests."""
    parts: list[RenderableType] = [_models(figures["models"]), Text()]
    positions = figures["models"]["fused"]["slices"].get("position", {})
    if len(positions) > 1:
        parts += [_positions(figures["models"], positions), Text()]
    parts += [_paired(figures["paired"]), Text()]
    if figures["cold"] is not None:
        parts += [_cold(figures["cold"]), Text()]
    parts.append(
        Text(
            f"split {figures['split']}, {figures['part']}: {figures['targets']:,} targets of "
            f"{figures['users']:,} users, each ranked among {figures['candidates']:,} items; "
            "95 % bootstrap intervals over users"
        )
    )
    lines = (
        *_alpha(figures["alpha"]),
        *_interests(figures["interests"]),
        *_index(figures["index"]),
    )
    parts += [Text(line) for line in lines]
    return Group(*parts)


def _models(models: Mapping[str, Any]) -> Table:
    shown = _table("model", *(metric.in_terminal or "" for metric in _SHOWN))
    for name, one in models.items():
        shown.add_row(escape(name), *(_cell(one, metric) for metric in _SHOWN), style=_style(name))
    return shown


def _cell(figures: Mapping[str, Any], metric: Metric) -> str:
    name = metric.name
    return f"{figures[name]:.3f}" if metric.of_lists else _with_interval(figures, name)


def _positions(models: Mapping[str, Any], positions: Mapping[str, Any]) -> Table:
    heads = [f"{name} ({part['targets']:,})" for name, part in positions.items()]
    shown = _table("model", *heads, title=f"{MAIN.upper()} by place in the session")
    for name, one in models.items():
        parts = one["slices"]["position"].values()
        shown.add_row(
            escape(name), *(_with_interval(part, MAIN) for part in parts), style=_style(name)
        )
    return shown


def _paired(paired: Sequence[Mapping[str, Any]]) -> Table:
    slices = list(dict.fromkeys(one["slice"] for one in paired))
    heads = [name.removeprefix("position:") for name in slices]
    title = f"difference in {MAIN.upper()} by place in the session, paired; * p < {_SIGNIFICANT}"
    shown = _table("", *heads, title=title)
    pairs = dict.fromkeys((one["a"], one["b"]) for one in paired)
    found = {(one["a"], one["b"], one["slice"]): one for one in paired if one["metric"] == MAIN}
    for a, b in pairs:
        shown.add_row(escape(f"{a} -\n{b}"), *(_difference(found[a, b, name]) for name in slices))
    return shown


def _cold(found: Mapping[str, Any]) -> Table:
    title = (
        f"{found['targets']:,} targets on {found['items']:,} cold items; chance finds "
        f"{found['chance'][_COLD]:.4f}"
    )
    shown = _table("model", _COLD.upper(), "by chance", title=title)
    for name, one in found["models"].items():
        low, high = one["ratio_ci95"][_COLD]
        ratio = f"{one['ratio'][_COLD]:.2f}\n[dim]{low:.2f}-{high:.2f}[/dim]"
        shown.add_row(escape(name), _with_interval(one, _COLD), ratio, style=_style(name))
    return shown


def _table(first: str, *others: str, title: str | None = None) -> Table:
    """Make a table that fits into 80 columns."""
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    shown.pad_edge, shown.collapse_padding = False, True
    shown.add_column(first, no_wrap=True)
    for name in others:
        shown.add_column(name, justify="right", no_wrap=True)
    return shown


def _difference(one: Mapping[str, Any]) -> str:
    star = " *" if one["p"] < _SIGNIFICANT else ""
    relative = "" if one["relative"] is None else f"\n[dim]{one['relative']:+.1%}[/dim]"
    return f"{one['diff']:+.4f}{star}{relative}"


def _with_interval(figures: Mapping[str, Any], metric: str) -> str:
    low, high = figures["ci95"][metric]
    return f"{figures[metric]:.4f}\n[dim]{low:.3f}-{high:.3f}[/dim]"


def _style(model: str) -> str | None:
    return "bold" if model == "fused" else None


def _alpha(alpha: Mapping[str, Any] | None) -> list[str]:
    if alpha is None:
        return []
    parts = alpha["by"].get("position", {}).items()
    by_position = ", ".join(f"{part['mean']:.2f} at {name}" for name, part in parts)
    line = f"α, {alpha['mode']}: {alpha['mean']:.2f} on average"
    return [f"{line}; by place in the session {by_position}" if by_position else line]


def _interests(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    low, high = found["gain"]["low"], found["gain"]["high"]
    return [
        f"interests: accuracy {found['accuracy']:.3f}, {100 * found['gain']['diff']:+.1f} points "
        f"[{100 * low:+.1f}, {100 * high:+.1f}] against always {found['most_frequent']}; any "
        f"category {found['hit_any']:.3f}; recall {found['macro_recall']:.3f}, F1 "
        f"{found['macro_f1']:.3f} (macro), {found['weighted_f1']:.3f} (weighted); calibration "
        f"error {found['ece']:.3f}"
    ]


def _index(found: Mapping[str, Any]) -> list[str]:
    """Say what the bundle's index loses; all other figures score every item."""
    if found["recall@10"] is None:
        return []
    return [
        f"index: {found['kind'] or 'FAISS'}, finds {found['recall@10']:.2%} of the ten best items "
        f"({found['searches']:,} searches)"
    ]
