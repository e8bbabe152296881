"""A process answers for its bundle, also when it has very many categories."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from groundswell.common.v1.model_service_pb2 import GetModelRequest, GetModelResponse
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.limits import MAX_ANSWER_BYTES
from groundswell.serving.model_servicer import ModelServicer


@dataclass
class Text:
    fingerprint: str = "encoder"


@dataclass
class Manifest:
    """A manifest with 15,000 categories of the longest names."""

    dimension: int = 64
    categories: list[str] = field(default_factory=lambda: [f"{n:0256}" for n in range(15_000)])
    text: Text = field(default_factory=Text)
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    window_length: int = 50
    chunk_length: int = 32
    metrics: dict[str, float] = field(default_factory=lambda: {"ndcg@10": 0.1})


async def asked(**request: Any) -> GetModelResponse:
    servicer = ModelServicer(lambda: ("b", Manifest()), lambda: ["b"], dict)
    context: Any = None
    return await servicer.GetModel(GetModelRequest(**request), context)


@pytest.mark.parametrize(("request_", "num"), [({}, 20), ({"num_categories": 0}, 0)])
async def test_the_first_categories_are_named_and_all_are_counted(
    request_: dict[str, int], num: int
) -> None:
    model = (await asked(**request_)).model
    assert list(model.categories) == [f"{n:0256}" for n in range(num)]
    assert model.num_categories == 15_000


async def test_the_most_categories_that_can_be_asked_for_fit_into_an_answer() -> None:
    answer = await asked(num_categories=10_000)
    assert len(answer.model.categories) == 10_000
    assert answer.ByteSize() < MAX_ANSWER_BYTES


@pytest.mark.parametrize("num", [-1, 10_001])
async def test_another_number_of_categories_is_refused(num: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await asked(num_categories=num)
    assert caught.value.reason == "NUM_CATEGORIES_INVALID"
