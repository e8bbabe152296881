"""Explains an item of a subject's list, or why it is not in the list."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from groundswell.cli.console.parts import moment, notes
from groundswell.cli.console.subject import MistakeError, Subject, found_items, size_of
from groundswell.cli.display.explanation import OMISSIONS
from groundswell.client import GroundswellClient
from groundswell.ranker.v1.ranker_service_pb2 import ExplainItemResponse, Pull


def why_page(
    client: GroundswellClient, pool: Executor, subject: Subject, query: Mapping[str, str]
) -> dict[str, Any]:
    """Ask the ranker, and return what is shown; raises MistakeError and GroundswellError."""
    found = found_items([query.get("item", "")], client, pool)
    if not found:
        raise MistakeError("Name an item, by its id or its title.")
    weight = _weight(query.get("alpha", ""))
    options = {} if weight is None else {"fusion_weight": weight}
    request = subject.request(page_size=size_of(query), **options)  # type: ignore[arg-type]
    answer = client.explain_item(request, found[0].item_id)
    return {
        "answer": answer,
        "verdict": _verdict(answer),
        "ranks": _ranks(answer),
        "pulls": [
            ("What of the window speaks for it", _pulls(answer.window_pulls)),
            ("What of the history speaks for it", _pulls(answer.history_pulls)),
        ],
        "effects": [
            (f"{moment(one.time):%Y-%m-%d}", one.title or one.item_id, one.effect)
            for one in answer.event_pulls
        ]
        + [
            (f"{moment(one.last_event_time):%Y-%m-%d}", "texts of events until then", one.effect)
            for one in answer.chunk_pulls
        ],
        "notes": notes(answer.degradations),
    }


def _weight(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise MistakeError("α is a number from 0 to 1.") from None


def _verdict(answer: ExplainItemResponse) -> str:
    if answer.HasField("place"):
        return f"It is in the list, at place {answer.place}."
    return f"It is not in the list: {OMISSIONS.get(answer.omission, 'the reason is unknown')}."


def _ranks(answer: ExplainItemResponse) -> list[tuple[str, int, float]]:
    by = (
        ("the short-term vector alone", answer.short),
        ("the long-term vector alone", answer.long),
        (f"both, α = {answer.fusion_weight:.2f}", answer.fused),
    )
    return [(name, one.rank, one.score) for name, one in by if one.rank]


def _pulls(pulls: Sequence[Pull]) -> list[tuple[str, float, float]]:
    return [(one.title or one.item_id, one.neighbour_score, one.similarity) for one in pulls]
