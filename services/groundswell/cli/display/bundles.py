"""The bundles of a folder as rows and as a table."""

from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.table import Table

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore

_VECTORS = ("fused", "short", "long")
_MB = 1_000_000


def bundle_rows(store: BundleStore, problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row for each bundle that has a readable manifest, the newest first.

    `state` is "current", "previous", or "" for the others; `problems` are those that a ranker tells
    of, by id. Raises OSError.
    """
    named = {_name(store.previous): "previous"} | {_name(store.current): "current"}
    manifests = sorted(store.manifests().items(), key=lambda one: one[1].created_at, reverse=True)
    return [
        {
            "id": bundle_id,
            "state": named.get(bundle_id, ""),
            "created_at": manifest.created_at.isoformat(),
            "ndcg@10": {v: manifest.metrics.get(f"validation.{v}.ndcg@10") for v in _VECTORS},
            "history_text": manifest.history_text.mode,
            "bytes": sum(entry.size for entry in manifest.files.values()),
            "problem": problems.get(bundle_id, ""),
        }
        for bundle_id, manifest in manifests
    ]


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as a table for a terminal."""
    shown = Table(
        box=box.SIMPLE_HEAD, caption="NDCG@10 on validation: fused, and each vector alone"
    )
    for name in ("bundle", "", "trained (UTC)"):
        shown.add_column(name, no_wrap=True)
    for name in (*_VECTORS, "MB"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        figures = row["ndcg@10"].values()
        shown.add_row(
            row["id"],
            row["state"],
            row["created_at"][:16].replace("T", " "),
            *("" if figure is None else f"{figure:.4f}" for figure in figures),
            f"{row['bytes'] / _MB:.1f}",
        )
        if row["problem"]:
            shown.caption = f"{shown.caption}\n{row['id']} is not served: {row['problem']}"
    return shown


def _name(read: Callable[[], str | None]) -> str | None:
    """Return what a pointer names; None for one that names no bundle."""
    try:
        return read()
    except BundleError:
        return None
