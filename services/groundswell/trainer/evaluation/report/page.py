"""Writes an evaluation as one HTML page, without scripts, fonts or other files."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepared import PICTURE, Prepared
from groundswell.trainer.evaluation.baselines import (
    RECENT_SHARE,
)
from groundswell.trainer.evaluation.item_knn import DECAY
from groundswell.trainer.evaluation.metrics import MAIN, METRICS
from groundswell.trainer.evaluation.report import plots
from groundswell.trainer.evaluation.report.item_map import MOST_ITEMS, item_map
from groundswell.trainer.evaluation.report.svg import model_colours, style
from groundswell.trainer.neighbours.cooccurrence import NUM_NEIGHBOURS, WINDOW_LENGTH

PAGE = "report.html"
_TEMPLATE = Path(__file__).with_name("page.html.jinja")
_METRICS = [metric for metric in METRICS if metric.on_page]
_LINES = ("popularity", "item-knn", "short-session", "short", "long", "fused")


def write_page(
    folder: Path, figures: Mapping[str, Any], bundle: Bundle, prepared: Prepared
) -> Path:
    """Write `PAGE` into a folder, made if need be, from what `evaluate` returned; its path."""
    with style():
        drawn = {name: Markup(svg) for name, svg in _plots(figures, bundle, prepared)}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        figures=figures,
        models=figures["models"],
        metrics=_METRICS,
        best=_best(figures["models"]),
        colours=model_colours(list(figures["models"])),
        plots=drawn,
        paired=_paired_rows(figures),
        manifest=bundle.manifest,
        facts=_facts(prepared),
        warnings=prepared.meta.get("report", {}).get("warnings", []),
        picture=_picture(prepared),
        most_items=MOST_ITEMS,
        recent_share=RECENT_SHARE,
        order_only=prepared.order_only,
        knn={"neighbours": NUM_NEIGHBOURS, "events": WINDOW_LENGTH, "decay": DECAY},
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    path.write_text(text, encoding="utf-8")
    return path


def _plots(
    figures: Mapping[str, Any], bundle: Bundle, prepared: Prepared
) -> Iterator[tuple[str, str]]:
    """Draw what there are figures of."""
    compared = list(figures["compared"])
    names = [name for name in (*_LINES[:-1], *compared, "fused") if name in figures["models"]]
    yield "models", plots.models_plot(figures)
    if any(len(parts) > 1 for parts in figures["models"]["fused"]["slices"].values()):
        yield "slices", plots.slices_plot(figures, names)
    yield "paired", plots.paired_plot(figures)
    if figures["alpha"] is not None:
        yield "alpha", plots.alpha_plot(figures["alpha"])
    if figures["interests"] is not None:
        yield "reliability", plots.reliability_plot(figures["interests"])
    curves = bundle.manifest.training.get("curves")
    if curves:
        yield "curves", plots.curves_plot(curves)
    drawn = item_map(bundle, prepared)
    if drawn is not None:
        yield "map", drawn


def _best(models: Mapping[str, Any]) -> dict[str, float]:
    return {m.name: max(one[m.name] for one in models.values()) for m in _METRICS}


def _paired_rows(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Arrange the differences in NDCG@10: a row for each pair, a column for each slice."""
    found = [one for one in figures["paired"] if one["metric"] == MAIN]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        rows.setdefault((one["a"], one["b"]), {})[one["slice"]] = one
    return {"slices": list(dict.fromkeys(one["slice"] for one in found)), "rows": rows}


def _facts(prepared: Prepared) -> dict[str, str]:
    """What the data's own report counts, as words."""
    report = prepared.meta.get("report", {})
    facts = {
        "events": f"{len(prepared.items):,}",
        "users": f"{prepared.num_users:,}",
        "items": f"{prepared.num_items:,}",
        "categories": f"{len(prepared.categories):,}",
    }
    if "events_per_user" in report:
        per_user = report["events_per_user"]
        facts["events per user"] = (
            f"{per_user['least']:,} to {per_user['most']:,}, median {per_user['median']:,g}"
        )
    if not prepared.order_only:
        facts["sessions"] = f"{int(prepared.starts.sum()):,}"
        facts["from"], facts["to"] = (str(report.get(f"{end}_time")) for end in ("first", "last"))
    if "density" in report:
        facts["density"] = f"{report['density']:.2%}"
    return facts


def _picture(prepared: Prepared) -> str | None:
    """The picture of the data that `prepare` drew, as a data: address."""
    path = prepared.folder / PICTURE
    if not path.is_file():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
