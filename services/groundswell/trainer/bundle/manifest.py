"""Writes down what a bundle is and how it was made."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from groundswell.artifacts.manifest import (
    CanarySpec,
    FusionSpec,
    HistoryTextSpec,
    Manifest,
    NeighbourSpec,
    TextSpec,
)
from groundswell.trainer.dataset.prepared import TRAIN, Prepared
from groundswell.trainer.loop.run import Run


def bundle_manifest(
    prepared: Prepared,
    run: Run,
    text: TextSpec,
    fusion: FusionSpec,
    neighbours: NeighbourSpec,
    recent_length: int,
    history_text: HistoryTextSpec,
    index_kind: str,
    canary: CanarySpec | None,
    metrics: dict[str, float],
) -> Manifest:
    """Describe a bundle that a run trained on a prepared log."""
    config = run.config
    return Manifest(
        created_at=datetime.now(UTC),
        dimension=config.dimension,
        window_length=config.window_length,
        chunk_length=config.chunk_length,
        max_chunks=config.max_chunks,
        recent_length=recent_length,
        context_dimension=config.width,
        use_time=not prepared.order_only,
        categories=prepared.categories,
        text=text,
        fusion=fusion,
        history_text=history_text,
        neighbours=neighbours,
        index_kind=index_kind,
        canary=canary,
        training=_training(prepared, run),
        metrics=metrics,
    )


def _training(prepared: Prepared, run: Run) -> dict[str, Any]:
    times = prepared.times_us[prepared.split_of == TRAIN]
    return {
        "config": asdict(run.config),
        "seed": run.seed,
        "num_processes": run.processes.size,
        "epochs": run.epochs,
        "curves": run.curves,
        "seconds": round(time.monotonic() - run.started, 1),
        "split": prepared.split,
        "num_users": prepared.num_users,
        "num_items": prepared.num_items,
        "num_training_events": len(times),
        "first_time_us": int(times.min()),
        "last_time_us": int(times.max()),
        "order_only": prepared.order_only,
    }
