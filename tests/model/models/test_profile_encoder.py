"""The profile encoder reads a history's past alone, alike in one pass and one by one."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from groundswell.models.profile_encoder import ProfileEncoder

DIMENSION, TEXT, CHUNKS = 8, 12, 6


class History(NamedTuple):
    chunk_vectors: Tensor
    chunk_ages: Tensor
    num_chunks: Tensor
    tail_vectors: Tensor
    tail_lengths: Tensor


def histories(batch: int, chunks: int = CHUNKS) -> History:
    return History(
        torch.randn(batch, chunks, TEXT),
        torch.rand(batch, chunks) * 5,
        torch.full((batch,), chunks),
        torch.randn(batch, TEXT),
        torch.randint(1, 16, (batch,)),
    )


@pytest.fixture
def model() -> ProfileEncoder:
    torch.manual_seed(0)
    model = ProfileEncoder(DIMENSION, TEXT, CHUNKS, width=16, num_heads=2, dropout=0.3).eval()
    torch.nn.init.normal_(model.place.weight)
    model.fit(torch.randn(50, TEXT) + 1, torch.randn(50, TEXT) * 2)
    return model


@pytest.mark.parametrize("known", range(CHUNKS + 1))
def test_what_pads_the_chunks_changes_nothing(model: ProfileEncoder, known: int) -> None:
    history = histories(1)._replace(num_chunks=torch.tensor([known]))
    cut = max(known, 1)
    exact = history._replace(
        chunk_vectors=history.chunk_vectors[:, :cut], chunk_ages=history.chunk_ages[:, :cut]
    )
    torch.testing.assert_close(model(*history), model(*exact), rtol=1e-5, atol=1e-6)


def test_a_later_chunk_never_changes_an_earlier_position(model: ProfileEncoder) -> None:
    num_BP = torch.arange(CHUNKS + 1)[None]
    ages_BPN = torch.rand(1, CHUNKS + 1, CHUNKS)
    tails_BPt, lengths_BP = torch.randn(1, CHUNKS + 1, TEXT), torch.full((1, CHUNKS + 1), 4)
    chunks = torch.randn(1, CHUNKS, TEXT)
    before = model.dense(chunks, ages_BPN, num_BP, tails_BPt, lengths_BP)
    for changed in range(CHUNKS):
        other = chunks.clone()
        other[:, changed] += 1
        after = model.dense(other, ages_BPN, num_BP, tails_BPt, lengths_BP)
        # Position p has the first p chunks: chunk `changed` is first seen by position changed + 1.
        torch.testing.assert_close(before[:, : changed + 1], after[:, : changed + 1])
        assert (before[:, changed + 1] - after[:, changed + 1]).abs().max() > 1e-4


def test_positions_in_one_pass_are_the_histories_one_by_one(model: ProfileEncoder) -> None:
    chunks, num_P = torch.randn(CHUNKS, TEXT), torch.arange(CHUNKS + 1)
    ages_PN = torch.rand(CHUNKS + 1, CHUNKS) * 5
    tails_Pt, lengths_P = torch.randn(CHUNKS + 1, TEXT), torch.arange(CHUNKS + 1)
    dense = model.dense(chunks[None], ages_PN[None], num_P[None], tails_Pt[None], lengths_P[None])[
        0
    ]
    for p in range(CHUNKS + 1):
        known = max(p, 1)
        alone = model(
            chunks[None, :known],
            ages_PN[None, p, :known],
            num_P[p : p + 1],
            tails_Pt[p : p + 1],
            lengths_P[p : p + 1],
        )
        torch.testing.assert_close(dense[p], alone[0], rtol=1e-5, atol=1e-6)


def test_each_history_of_a_batch_is_read_as_if_it_were_alone(model: ProfileEncoder) -> None:
    history = histories(3)._replace(num_chunks=torch.tensor([CHUNKS, 0, 2]))
    together = model(*history)
    for row in range(3):
        alone = model(*(x[row : row + 1] for x in history))
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-6)


def test_a_history_without_full_chunks_or_tail_has_a_finite_view(model: ProfileEncoder) -> None:
    nothing = histories(2, 1)._replace(
        num_chunks=torch.tensor([0, 0]), tail_lengths=torch.tensor([0, 0])
    )
    vectors = model(*nothing)
    assert vectors.isfinite().all()
    # There is nothing to read in the inputs, whatever their values.
    torch.testing.assert_close(vectors[0], vectors[1])


def test_a_chunk_that_is_dropped_is_as_one_that_was_never_there(model: ProfileEncoder) -> None:
    history = histories(1)
    dense = (
        history.chunk_vectors,
        history.chunk_ages[:, None],
        history.num_chunks[:, None],
        history.tail_vectors[:, None],
        history.tail_lengths[:, None],
    )
    drop = torch.zeros(1, 1, CHUNKS, dtype=torch.bool)
    drop[..., 2] = True
    other = history.chunk_vectors.clone()
    other[:, 2] = 99.0
    torch.testing.assert_close(model.dense(*dense, drop), model.dense(other, *dense[1:], drop))
    assert (model.dense(*dense, drop) - model.dense(*dense)).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["chunk_vectors", "chunk_ages", "tail_vectors", "tail_lengths"])
def test_every_input_reaches_the_vector(model: ProfileEncoder, name: str) -> None:
    history = histories(1)
    value: Tensor = getattr(history, name).clone()
    # Ages count relative to each other: all of them older would be the same history.
    value.view(-1)[:TEXT] += 3 if value.numel() != CHUNKS else torch.arange(CHUNKS)
    changed = history._replace(**{name: value})
    assert (model(*history) - model(*changed)).abs().max() > 1e-4


def test_the_last_dimension_is_one_for_the_popularity_bias(model: ProfileEncoder) -> None:
    vectors = model(*histories(3))
    assert vectors.shape == (3, DIMENSION)
    assert (vectors[:, -1] == 1).all()
