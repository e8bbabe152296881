"""Gathers what the page about the services and their bundle shows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from groundswell.cli.connection import ServiceName
from groundswell.cli.console.parts import PagePart, age, clock, moment, part
from groundswell.client import GroundswellClient
from groundswell.common.v1.model_service_pb2 import GetModelResponse
from groundswell.profile.v1.profile_service_pb2 import RefreshProfilesResponse

SERVICES: tuple[ServiceName, ...] = ("ranker", "session", "profile")
_QUEUE_TIMEOUT_S = 2.0
_WIDTH, _HEIGHT = 300, 100
"""Of a plot, in its own units."""


class Curve(NamedTuple):
    """A line of a plot, and the same in words."""

    name: str
    points: str
    text: str


def suite_page(
    client: GroundswellClient, pool: Executor, addresses: Mapping[str, str], bundles: Path | None
) -> dict[str, Any]:
    """Ask every service, read the manifest of the ranker's bundle, and return what is shown."""
    calls = {name: pool.submit(client.model, name, num_categories=0) for name in SERVICES}
    queue = part(pool.submit(_queue, client))
    models = {name: part(call) for name, call in calls.items()}
    ranker = models["ranker"].value
    training = _training(bundles, ranker)
    return {
        "services": [(name, addresses[name], _facts(models[name])) for name in SERVICES],
        "agree": len({one.value.model.bundle_id for one in models.values() if one.value}) <= 1,
        "queue": queue,
        "model": None if ranker is None else ranker.model,
        "metrics": [] if ranker is None else sorted(ranker.model.metrics.items()),
        "training": _numbers(training),
        "settings": sorted(training.get("config", {}).items()),
        "curves": list(_curves(training.get("curves", {}))),
        "bundles": bundles,
    }


def _queue(client: GroundswellClient) -> RefreshProfilesResponse:
    """Return the first report of a wait; the call ends with its iterator."""
    return next(iter(client.refresh_profiles(timeout=_QUEUE_TIMEOUT_S)))


def _facts(found: PagePart[GetModelResponse]) -> PagePart[dict[str, Any]]:
    if found.value is None:
        return PagePart(None, found.error)
    answer, made = found.value, found.value.model.created_at
    since = (datetime.now(UTC) - moment(made)).total_seconds()
    return PagePart(
        {
            "bundle_id": answer.model.bundle_id,
            "made": f"{clock(made)}, {age(since)} ago",
            "loaded": list(answer.loaded_bundle_ids),
            "refused": [(one.bundle_id, one.problem) for one in answer.refused_bundles],
        }
    )


def _training(bundles: Path | None, answer: GetModelResponse | None) -> dict[str, Any]:
    """Read what the manifest says of the training; empty without the bundle's folder."""
    if bundles is None or answer is None:
        return {}
    # A name alone: a service could send any text.
    path = bundles / Path(answer.model.bundle_id).name / "manifest.json"
    if not path.is_file():
        return {}
    training: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["training"]
    return training


def _numbers(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The counts of the data and of the training, in words."""
    known = {
        name: value
        for name, value in training.items()
        if isinstance(value, int | float | str) and not name.endswith("_time_us")
    }
    for name in ("first", "last"):
        time_us = training.get(f"{name}_time_us")
        if time_us is not None and not training.get("order_only"):
            known[f"{name} event"] = f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d}"
    return [
        (name.replace("_", " "), str(value) if isinstance(value, bool | str) else f"{value:,}")
        for name, value in known.items()
    ]


def _curves(curves: Mapping[str, Mapping[str, Sequence[float | None]]]) -> Iterable[Curve]:
    for stage, series in curves.items():
        for name, values in series.items():
            known = [(n, value) for n, value in enumerate(values) if value is not None]
            if name != "seconds" and len(known) > 1:
                yield _curve(f"{stage}: {name}", known)


def _curve(name: str, known: Sequence[tuple[int, float]]) -> Curve:
    values = [value for _, value in known]
    low, high, last = min(values), max(values), known[-1][0] or 1
    span = high - low or 1.0
    points = " ".join(
        f"{_WIDTH * n / last:.1f},{_HEIGHT * (1 - (value - low) / span):.1f}" for n, value in known
    )
    text = (
        f"{len(values)} epochs, from {values[0]:.4f} to {values[-1]:.4f}; "
        f"least {low:.4f}, most {high:.4f}"
    )
    return Curve(name, points, text)
