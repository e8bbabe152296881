"""Draws item vectors as a map: similar items lie near each other, coloured by category."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepared import TRAIN, Prepared
from groundswell.trainer.evaluation.report.svg import CATEGORY_COLOURS, INK, panels, to_svg

MOST_ITEMS = 1_500
_LEAST_ITEMS = 10
_PERPLEXITY = 30.0
_SEED = 0
_LABELS = 14
_APART = 0.14
_LONGEST_LABEL = 28
_OTHER = "#c3cad2"


def item_map(bundle: Bundle, prepared: Prepared) -> str | None:
    """Draw the most popular items, at most `MOST_ITEMS`, by t-SNE of their directions (van der
    Maaten and Hinton 2008), the popularity dimension left out.

    Without categories the colour is the popularity. None for fewer items than make a map.
    """
    counts = np.bincount(prepared.items[prepared.split_of == TRAIN], minlength=prepared.num_items)
    rows = np.array([bundle.rows.get(item_id, -1) for item_id in prepared.item_ids], np.int64)
    order = np.argsort(-counts, kind="stable")
    items = order[(rows[order] >= 0) & (counts[order] > 0)][:MOST_ITEMS]
    if len(items) < _LEAST_ITEMS:
        return None
    places = _places(bundle.item_vectors[rows[items], :-1])
    figure, [axes] = panels(1, 1, 10, 6.6)
    axes.set_axis_off()
    if prepared.categories:
        _by_category(axes, prepared, items, places)
    else:
        x, y = places.T
        dots = axes.scatter(x, y, c=np.log10(counts[items]), cmap="viridis", s=9, linewidths=0)
        figure.colorbar(dots, ax=axes, shrink=0.6, label="events in training, powers of ten")
    for item, place in _landmarks(items, places):
        title = prepared.titles[item]
        short = title if len(title) <= _LONGEST_LABEL else f"{title[: _LONGEST_LABEL - 1]}…"
        axes.plot(place[0], place[1], "o", ms=4.5, mfc="none", mec=INK, mew=0.9, zorder=4)
        axes.annotate(
            short,
            (place[0], place[1]),
            (7, 0),
            textcoords="offset points",
            fontsize=8,
            va="center",
            zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )
    return to_svg(figure, "map")


def _places(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return [n, 2] places within [0, 1] of n directions."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.maximum(lengths, 1e-12)
    # t-SNE keeps neighbours only: without a start from the data, far things lie anywhere.
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, metric="cosine", random_state=_SEED)
    found: NDArray[np.float64] = tsne.fit_transform(directions).astype(np.float64)
    found -= found.min(axis=0)
    found /= np.maximum(found.max(axis=0), 1e-12)
    return found


def _by_category(
    axes: Axes, prepared: Prepared, items: NDArray[np.int64], places: NDArray[np.float64]
) -> None:
    """Colour the categories that most of the items have, and leave the others grey."""
    x, y = places.T
    category = prepared.item_category[items]
    sizes = np.bincount(category[category >= 0], minlength=len(prepared.categories))
    shown = [c for c in np.argsort(-sizes, kind="stable")[: len(CATEGORY_COLOURS)] if sizes[c]]
    rest = ~np.isin(category, shown)
    if rest.any():
        axes.scatter(x[rest], y[rest], s=9, color=_OTHER, linewidths=0, label="other or none")
    for colour, number in zip(CATEGORY_COLOURS, shown, strict=False):
        inside = category == number
        label = f"{prepared.categories[number]} ({sizes[number]:,})"
        axes.scatter(
            x[inside], y[inside], s=11, color=colour, alpha=0.85, linewidths=0, label=label
        )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)


def _landmarks(
    items: NDArray[np.int64], places: NDArray[np.float64]
) -> list[tuple[int, NDArray[np.float64]]]:
    """Choose popular items that lie apart, to be named on the map."""
    chosen: list[tuple[int, NDArray[np.float64]]] = []
    for item, place in zip(items.tolist(), places, strict=True):
        # A name is wide and flat: neighbours above and below may be nearer.
        gaps = [np.abs(place - other) / (2 * _APART, _APART / 2) for _, other in chosen]
        if all(gap.max() > 1 for gap in gaps) and len(chosen) < _LABELS:
            chosen.append((item, place))
    return chosen
