"""The profile encoder reads a history's past alone, alike in one pass and one by one."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from groundswell.features.actions import NUM_ACTIONS
from groundswell.models.profile_encoder import ProfileEncoder

DIMENSION, TEXT, CONTEXT, CHUNKS, RECENT = 8, 12, 5, 6, 9


class History(NamedTuple):
    chunk_vectors: Tensor
    chunk_ages: Tensor
    num_chunks: Tensor
    recent_vectors: Tensor
    recent_actions: Tensor
    recent_gaps: Tensor
    recent_starts: Tensor
    recent_lengths: Tensor


def histories(batch: int, chunks: int = CHUNKS, recent: int = RECENT) -> History:
    return History(
        torch.randn(batch, chunks, TEXT),
        torch.rand(batch, chunks) * 5,
        torch.full((batch,), chunks),
        torch.randn(batch, recent, CONTEXT),
        torch.randint(1, NUM_ACTIONS, (batch, recent)),
        torch.rand(batch, recent) * 9,
        torch.randint(0, 2, (batch, recent)).float(),
        torch.full((batch,), recent),
    )


def dense(model: ProfileEncoder, history: History, num_BT: Tensor, ages_BTN: Tensor) -> Tensor:
    """[B, T, d] every state of the histories in one pass, as training makes them."""
    _, _, _, contexts, *others, _ = history
    states = model.events(contexts, *others)
    texts = model.chunks(states, history.chunk_vectors, ages_BTN, num_BT)
    return model.project(states, model.sums(contexts), texts)


def at(history: History, state: int, num_chunks: int, ages_N: Tensor) -> History:
    """What is left of one history when it had so many events and chunks."""
    chunks, events = max(num_chunks, 1), max(state, 1)
    newest = {name: getattr(history, name)[:, :events] for name in History._fields[3:7]}
    return History(
        chunk_vectors=history.chunk_vectors[:, :chunks],
        chunk_ages=ages_N[None, :chunks],
        num_chunks=torch.tensor([num_chunks]),
        recent_lengths=torch.tensor([state]),
        **newest,
    )


@pytest.fixture
def model() -> ProfileEncoder:
    torch.manual_seed(0)
    model = ProfileEncoder(
        DIMENSION, TEXT, CONTEXT, CHUNKS, RECENT, width=16, num_blocks=2, num_heads=2, dropout=0.3
    ).eval()
    # What starts as zeros would hide what it says.
    torch.nn.init.normal_(model.chunks.place.weight)
    torch.nn.init.normal_(model.out_text.weight)
    model.chunks.fit(torch.randn(50, TEXT) + 1)
    return model


@pytest.mark.parametrize("known", range(CHUNKS + 1))
def test_what_pads_the_chunks_changes_nothing(model: ProfileEncoder, known: int) -> None:
    history = histories(1)._replace(num_chunks=torch.tensor([known]))
    cut = max(known, 1)
    exact = history._replace(
        chunk_vectors=history.chunk_vectors[:, :cut], chunk_ages=history.chunk_ages[:, :cut]
    )
    torch.testing.assert_close(model(*history), model(*exact), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("known", range(RECENT + 1))
def test_what_pads_the_newest_events_changes_nothing(model: ProfileEncoder, known: int) -> None:
    history = histories(1)._replace(recent_lengths=torch.tensor([known]))
    exact = history._replace(
        **{name: getattr(history, name)[:, : max(known, 1)] for name in History._fields[3:7]}
    )
    torch.testing.assert_close(model(*history), model(*exact), rtol=1e-5, atol=1e-6)


def test_states_in_one_pass_are_the_histories_one_by_one(model: ProfileEncoder) -> None:
    history = histories(1)
    num_T = torch.tensor([0, 0, 1, 1, 2, 3, 3, 4, 5, 6])
    ages_TN = torch.rand(RECENT + 1, CHUNKS) * 5
    states = dense(model, history, num_T[None], ages_TN[None])[0]
    for state in range(RECENT + 1):
        alone = model(*at(history, state, int(num_T[state]), ages_TN[state]))
        torch.testing.assert_close(states[state], alone[0], rtol=1e-5, atol=1e-5)


def test_a_later_chunk_or_event_never_changes_an_earlier_state(model: ProfileEncoder) -> None:
    history, num_BT = histories(1), torch.arange(RECENT + 1).clamp(max=CHUNKS)[None]
    ages_BTN = torch.rand(1, RECENT + 1, CHUNKS)
    before = dense(model, history, num_BT, ages_BTN)
    # State p has the first p events and chunks: what is changed is first seen by the one after it.
    for name, count in (("chunk_vectors", CHUNKS), ("recent_vectors", RECENT)):
        for changed in range(count):
            other = getattr(history, name).clone()
            other[:, changed] += 1
            after = dense(model, history._replace(**{name: other}), num_BT, ages_BTN)
            torch.testing.assert_close(before[:, : changed + 1], after[:, : changed + 1])
            assert (before[:, changed + 1] - after[:, changed + 1]).abs().max() > 1e-4


def test_each_history_of_a_batch_is_read_as_if_it_were_alone(model: ProfileEncoder) -> None:
    history = histories(3)._replace(
        num_chunks=torch.tensor([CHUNKS, 0, 2]), recent_lengths=torch.tensor([3, RECENT, 0])
    )
    together = model(*history)
    for row in range(3):
        alone = model(*(x[row : row + 1] for x in history))
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-6)


def test_a_history_of_nothing_has_a_finite_vector(model: ProfileEncoder) -> None:
    nothing = histories(2, 1, 1)._replace(
        num_chunks=torch.tensor([0, 0]), recent_lengths=torch.tensor([0, 0])
    )
    vectors = model(*nothing)
    assert vectors.isfinite().all()
    # There is nothing to read in the inputs, whatever their values.
    torch.testing.assert_close(vectors[0], vectors[1])


def test_a_chunk_that_is_dropped_is_as_one_that_was_never_there(model: ProfileEncoder) -> None:
    history, states = histories(1), torch.randn(1, 1, 16)
    ages, num = history.chunk_ages[:, None], history.num_chunks[:, None]
    drop = torch.zeros(1, 1, CHUNKS, dtype=torch.bool)
    drop[..., 2] = True
    other = history.chunk_vectors.clone()
    other[:, 2] = 99.0
    read = model.chunks(states, history.chunk_vectors, ages, num, drop)
    torch.testing.assert_close(read, model.chunks(states, other, ages, num, drop))
    whole = model.chunks(states, history.chunk_vectors, ages, num)
    assert (read - whole).abs().max() > 1e-4


def test_only_the_newest_chunks_are_read(model: ProfileEncoder) -> None:
    history, states = histories(1, CHUNKS + 2), torch.randn(1, 1, 16)
    ages, num = history.chunk_ages[:, None], history.num_chunks[:, None]
    other = history.chunk_vectors.clone()
    other[:, :2] += 1
    read = model.chunks(states, history.chunk_vectors, ages, num)
    torch.testing.assert_close(read, model.chunks(states, other, ages, num))


@pytest.mark.parametrize("name", [n for n in History._fields if n != "num_chunks"])
def test_every_input_reaches_the_vector(model: ProfileEncoder, name: str) -> None:
    history = histories(1)
    value: Tensor = getattr(history, name).clone()
    if name == "chunk_ages":
        # Ages count relative to each other: all of them older would be the same history.
        value += torch.arange(CHUNKS)
    elif name in ("recent_actions", "recent_starts"):
        value[0, 2] = value[0, 2] % 5 + 1
    else:
        value.view(-1)[:TEXT] -= 3
    changed = history._replace(**{name: value})
    assert (model(*history) - model(*changed)).abs().max() > 1e-4


def test_the_number_of_chunks_reaches_the_vector(model: ProfileEncoder) -> None:
    history = histories(1)
    fewer = history._replace(num_chunks=history.num_chunks - 1)
    assert (model(*history) - model(*fewer)).abs().max() > 1e-4


def test_the_last_dimension_is_one_for_the_popularity_bias(model: ProfileEncoder) -> None:
    vectors = model(*histories(3))
    assert vectors.shape == (3, DIMENSION)
    assert (vectors[:, -1] == 1).all()
