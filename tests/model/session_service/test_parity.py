"""The session service makes of a window what training made of the same events."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.window import session_starts, window_tensors
from groundswell.models.session_transformer import SessionTransformer
from groundswell.session_service.encoder import SessionEncoder
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.records import NO_SESSION, Columns, WindowEvent
from groundswell.session_service.windows.window import Listing, Window
from groundswell.trainer.bundle.onnx import Input, export
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.inputs.histories import windows_before
from tests.support.worlds import synthetic_world

L = 6


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    world = synthetic_world(folder, users=12, items=40)
    prepare(world.events, world.items, folder / "prepared")
    return load_prepared(folder / "prepared")


class ReadingModel:
    """Keeps what it is given, and answers with zeros."""

    def __init__(self) -> None:
        self.inputs: dict[str, NDArray[Any]] = {}

    def run(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        self.inputs = inputs
        return np.zeros((len(inputs["lengths"]), 1), np.float32)


def served_window(prepared: Prepared, event: int) -> Window:
    """The window as the service holds it just before an event of the log."""
    user = int(np.searchsorted(prepared.offsets, event, side="right")) - 1
    begin = int(prepared.offsets[user])
    events = [
        WindowEvent(
            time_us=int(prepared.times_us[n]),
            sequence=n - begin + 1,
            # Item numbers begin at 1.
            item_no=int(prepared.items[n]) + 1,
            action=int(prepared.actions[n]),
            session=NO_SESSION,
        )
        for n in range(begin, event)
    ]
    listing = Listing(events[-(L + 1) :], len(events))
    return Window(L + 1).relisted(listing, capacity=L + 1, known=0, now_us=0)


async def test_a_served_window_is_the_window_of_training(prepared: Prepared) -> None:
    model = ReadingModel()
    items = ItemTable(dimension=1)
    for row in range(prepared.num_items):
        items.upsert(prepared.item_ids[row], row + 1, np.array([row + 1], np.float32))
    encoder = SessionEncoder(
        "bundle",
        model,  # type: ignore[arg-type] # all that is read of a model is `run`
        items,
        window_length=L,
        use_time=not prepared.order_only,
        max_batch=1,
        max_queue=10,
        max_queue_bytes=10_000_000,
    )
    num_events = int(prepared.offsets[-1])
    assert num_events > 10 * L
    for event in range(0, num_events, 7):
        await encoder.encode(served_window(prepared, event).records)
        trained = windows_before(prepared, np.array([event]), L)
        length = int(trained.lengths[0])
        assert model.inputs["lengths"].tolist() == [length]
        served = {
            "rows": model.inputs["item_vectors"][0, :length, 0] - 1,
            "actions": model.inputs["actions"][0, :length],
            "gaps": model.inputs["gaps"][0, :length],
            "starts": model.inputs["starts"][0, :length],
        }
        for name, values in served.items():
            expected = getattr(trained, name)[0, :length]
            np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=f"{name} at {event}")
    await encoder.close()


async def test_the_event_before_the_window_needs_no_vector() -> None:
    """It tells that the first event of the window goes on with a visit."""
    model, items = ReadingModel(), ItemTable(dimension=1)
    items.upsert("a", 1, np.ones(1, np.float32))
    items.upsert("b", 2, None)
    encoder = SessionEncoder(
        "bundle",
        model,  # type: ignore[arg-type] # all that is read of a model is `run`
        items,
        window_length=L,
        use_time=True,
        max_batch=1,
        max_queue=10,
        max_queue_bytes=10_000_000,
    )
    # Inline events may be more than a stored window has; they are read as it is.
    row, many = np.arange(2 * L), np.ones(2 * L, np.int64)
    inline = Columns(row * 1_000_000, np.where(row >= 2 * L - 3, 2, 1), many, many)
    for events in (inline, Columns(*(column[-L - 1 :] for column in inline))):
        await encoder.encode_events(events)
        assert model.inputs["lengths"].tolist() == [L - 2]
        assert model.inputs["starts"][0].tolist() == [1.0] + [0.0] * (L - 3)
    ones = np.ones(L + 1, np.int64)
    item_nos = np.where(np.arange(L + 1) == 0, 2, 1)
    await encoder.encode_events(Columns(np.arange(L + 1) * 1_000_000, item_nos, ones, ones))
    assert model.inputs["lengths"].tolist() == [L]
    assert model.inputs["starts"][0].tolist() == [0.0] * L
    await encoder.close()


_D, _FULL = 8, 50


class Served(NamedTuple):
    model: SessionTransformer
    encoder: SessionEncoder
    items: ItemTable


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A model of the full window length, and an encoder that runs its export."""
    torch.manual_seed(2)
    model = SessionTransformer(_D, _FULL, width=16, num_blocks=2, num_heads=2, dropout=0.0).eval()
    for weights in model.parameters():
        nn.init.normal_(weights, std=0.3)
    path, items = tmp_path / "session.onnx", ItemTable(_D)
    inputs = [Input(n, ("b", "n")) for n in ("item_vectors", "actions", "gaps", "starts")]
    example = (torch.randn(2, 3, _D), torch.ones(2, 3, dtype=torch.int64), *torch.rand(2, 2, 3))
    examples = [(*example, torch.tensor([3, 1]))]
    export(model, path, [*inputs, Input("lengths", ("b",))], "short_vectors", examples)
    for n in range(1, 100):
        items.upsert(f"{n}", n, torch.randn(_D).numpy())
    encoder = SessionEncoder(
        "bundle",
        OnnxModel(path),
        items,
        window_length=_FULL,
        use_time=True,
        max_batch=1,
        max_queue=10,
        max_queue_bytes=10_000_000,
    )
    yield Served(model, encoder, items)
    await encoder.close()


@pytest.mark.parametrize("length", [1, 2, 49, 50, 51, 200])
async def test_a_served_vector_is_the_state_of_the_trained_model(
    served: Served, length: int
) -> None:
    rng = np.random.default_rng(length)
    times_us = np.cumsum(rng.integers(0, 5_000, length)) * 1_000_000
    item_nos, actions = rng.integers(1, 100, length), rng.integers(1, 10, length)
    session = await served.encoder.encode_events(
        Columns(times_us, item_nos, actions, np.zeros(length, np.int64))
    )
    newest = slice(-_FULL, None)
    tensors = window_tensors(
        times_us[newest], actions[newest], session_starts(times_us)[newest], use_time=True
    )
    vectors = served.items.vectors(item_nos[newest])
    window = [torch.from_numpy(values)[None] for values in (vectors, *tensors)]
    with torch.inference_mode():
        states = served.model.project(served.model.states(*window))
    np.testing.assert_allclose(session.short_vector, states[0, -1].numpy(), atol=1e-4)
