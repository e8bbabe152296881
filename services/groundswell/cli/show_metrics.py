"""How an evaluation looks on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_METRICS = ("hr@10", "ndcg@10", "mrr")


def table(figures: Mapping[str, Any]) -> RenderableType:
    """The models' metrics side by side, and the interest head's."""
    models = Table("model", *(name.upper() for name in _METRICS))
    for name, metrics in figures["models"].items():
        style = "bold" if name == "fused" else None
        models.add_row(name, *(f"{metrics[metric]:.4f}" for metric in _METRICS), style=style)
    about = (
        f"split {figures['split']}: {figures['targets']:,} targets of {figures['users']:,} users, "
        f"each ranked among {figures['candidates']:,} items"
    )
    lines = [Text(about)]
    interests = figures["interests"]
    if interests is not None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in interests.items())
        lines.append(Text(f"interests: {shown}"))
    return Group(models, *lines)
