"""The style of the page's plots, and their conversion to SVG text."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, MUTED, RULE = "#1d2733", "#6b7785", "#dfe4ea"

_MODEL_COLOURS = {
    "fused": "#1f5fa8",
    "short": "#e0862b",
    "short-session": "#c9a227",
    "long": "#2f9268",
    "constant": "#8a5cb8",
    "item-knn": "#5c6875",
    "recent": "#8f99a4",
    "popularity": "#b9c0c8",
}
_OTHER_COLOURS = ("#c8443f", "#1a9aa8", "#a64d79", "#7a8b2a")
CATEGORY_COLOURS = (
    "#1f5fa8", "#e0862b", "#2f9268", "#c8443f", "#8a5cb8",
    "#1a9aa8", "#c9a227", "#a64d79", "#7a8b2a", "#7b5b45",
)  # fmt: skip

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#aab3bd",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "groundswell",
    "text.color": INK,
    # A title may hold a dollar sign.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
}


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """Give each model its colour, the same in every figure."""
    others = [name for name in models if name not in _MODEL_COLOURS]
    given = {n: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, n in enumerate(others)}
    return {name: _MODEL_COLOURS.get(name) or given[name] for name in models}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the page while it lasts."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The page's reader has the glyphs that the font for measuring lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing", category=UserWarning)
        yield


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of rows x columns axes, `width` x `height` inches, and list them by row."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(width, height), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def to_svg(figure: Figure, name: str) -> str:
    """Write a figure as an <svg> element whose ids start with `name`, unique in its page."""
    buffer = io.StringIO()
    figure.patch.set_alpha(0)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
