"""Compares the quality and the training time of both sides: a table and plain figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tests.bench.peers.ours import MODELS, Curve, Ours
from tests.bench.peers.peer import NAMES, RIVAL, Peer

TARGET = 0.5
"""What is asked of our training time over the rival's."""

_K = 10
_NEAR = 0.95
"""Of the best, which itself may come late by luck."""
_SHORT_STAGE = "views"


@dataclass(frozen=True)
class Round:
    """Both sides under one seed."""

    seed: int
    ours: Ours
    peers: Mapping[str, Peer]
    """By a name of `peer.NAMES`, the rival's among them."""


class Row(NamedTuple):
    """One model, as means over the rounds; None where a round has no figure."""

    ndcg: float
    """NDCG@10 on the test targets."""
    hit_rate: float
    """HR@10 on the test targets."""
    validation: float
    """Validation NDCG@10 of what was kept."""
    seconds_to_rival: float | None
    """Until validation was as good as the rival's best."""
    seconds: float
    """Of the whole training."""


def ndcg(ranks: NDArray[np.int64]) -> float:
    """NDCG@10 of [n] ranks from 1."""
    return float(np.where(ranks <= _K, 1 / np.log2(1.0 + ranks), 0.0).mean())


def seconds_until(curves: Iterable[Curve], goal: float) -> float | None:
    """Return when any of the curves first validates as well as `goal`; None when none does."""
    points = [pair for curve in curves for pair in zip(curve.ndcg, curve.seconds, strict=True)]
    return min((s for value, s in points if value is not None and value >= goal), default=None)


def time_ratio(one: Round, share: float = 1.0) -> float | None:
    """Our time until `share` of the rival's best validation NDCG@10, over its own; None: never."""
    rival = one.peers[RIVAL].curve
    goal = share * _best(one)
    ours, theirs = seconds_until(one.ours.curves.values(), goal), seconds_until([rival], goal)
    return None if ours is None or theirs is None else ours / theirs


def rows(rounds: Sequence[Round]) -> dict[str, Row]:
    """Describe every model that ran, ours first."""
    found = {f"ours, {model}": [_our_row(one, model) for one in rounds] for model in MODELS}
    for name in rounds[0].peers:
        found[f"RecTools {NAMES[name]}"] = [_peer_row(one, name) for one in rounds]
    return {name: _mean_row(cells) for name, cells in found.items()}


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return the headline, the models, and what each round was told and found."""
    ratio = _mean([time_ratio(one) for one in rounds])
    return {
        "training_time_ratio": ratio,
        "target": TARGET,
        "holds": ratio is not None and ratio <= TARGET,
        "training_time_ratio_to_95_percent": _mean([time_ratio(one, _NEAR) for one in rounds]),
        "models": _as_dicts(rows(rounds)),
        "rounds": [dict(_details(one)) for one in rounds],
    }


def table(rounds: Sequence[Round], title: str) -> Table:
    """Show the models side by side."""
    found = Table(title=title)
    found.add_column("", no_wrap=True)
    for column in ("NDCG@10", "HR@10", "validation NDCG@10", "s to SASRec's best", "s in all"):
        found.add_column(column, justify="right")
    for name, row in rows(rounds).items():
        reached = "never" if row.seconds_to_rival is None else f"{row.seconds_to_rival:.1f}"
        quality = (f"{value:.4f}" for value in (row.ndcg, row.hit_rate, row.validation))
        found.add_row(name, *quality, reached, f"{row.seconds:.1f}")
    return found


def headline(rounds: Sequence[Round]) -> str:
    """Say the ratio of the training times, and whether it is what is asked."""
    parts = {"its best": 1.0, f"{_NEAR:.0%} of its best": _NEAR}
    said = []
    for name, share in parts.items():
        ratio = _mean([time_ratio(one, share) for one in rounds])
        said.append(f"to {name} " + ("never reached" if ratio is None else f"× {ratio:.2f}"))
    holds = "holds" if figures(rounds)["holds"] else "DOES NOT HOLD"
    what = "our training time over that of RecTools' SASRec, until validation is as good"
    return f"{what}: {', '.join(said)}; at most {TARGET:g} of its best is asked: {holds}"


def _our_row(one: Round, model: str) -> Row:
    ours = one.ours
    curves = [c for stage, c in ours.curves.items() if model != "short" or stage == _SHORT_STAGE]
    measured = ours.figures["models"][model]
    reached = seconds_until(curves, _best(one))
    return Row(
        measured["ndcg@10"], measured["hr@10"], ours.validation[model], reached, ours.seconds
    )


def _peer_row(one: Round, name: str) -> Row:
    peer = one.peers[name]
    return Row(
        ndcg(peer.test_ranks),
        float((peer.test_ranks <= _K).mean()),
        ndcg(peer.validation_ranks),
        seconds_until([peer.curve], _best(one)),
        peer.seconds,
    )


def _best(one: Round) -> float:
    """The rival's best validation NDCG@10."""
    return max(value for value in one.peers[RIVAL].curve.ndcg if value is not None)


def _as_dicts(found: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    return {name: row._asdict() for name, row in found.items()}


def _mean_row(cells: Sequence[Row]) -> Row:
    return Row(
        ndcg=float(np.mean([row.ndcg for row in cells])),
        hit_rate=float(np.mean([row.hit_rate for row in cells])),
        validation=float(np.mean([row.validation for row in cells])),
        seconds_to_rival=_mean([row.seconds_to_rival for row in cells]),
        seconds=float(np.mean([row.seconds for row in cells])),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _details(one: Round) -> Iterator[tuple[str, Any]]:
    yield "seed", one.seed
    yield "training_time_ratio", time_ratio(one)
    yield "models", _as_dicts(rows([one]))
    yield (
        "ours",
        {
            "config": one.ours.config,
            "curves": {stage: asdict(curve) for stage, curve in one.ours.curves.items()},
        },
    )
    for name, peer in one.peers.items():
        yield (
            name,
            {
                "versions": peer.versions,
                "settings": peer.settings,
                "best_epoch": peer.best_epoch,
                "known_items": peer.known_items,
                "curve": asdict(peer.curve),
            },
        )
