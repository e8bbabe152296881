"""Training drops texts at random, so that a profile is right before they are encoded."""

import numpy as np
import torch
from torch import nn

from groundswell.trainer.config import parse_config
from groundswell.trainer.encoders.batches import profile_batches
from groundswell.trainer.encoders.item_batch import ItemSampler
from groundswell.trainer.encoders.losses import EncoderLosses
from groundswell.trainer.encoders.model import JointModel
from groundswell.trainer.inputs.histories import ChunkTable, cut_chunks
from groundswell.trainer.inputs.training_log import TrainingLog
from tests.unit.trainer.memory import random_log

TEXT, RECENT = 8, 12
KEEPING = ("dropout=0", "id_dropout=0", "history_dropout=0", "chunk_dropout=0")


def loss(text_dropout: float, *, chunks: bool) -> float:
    """Return the loss of one step in which nothing but texts is dropped."""
    prepared = random_log(users=40)
    config = parse_config([*KEEPING, f"text_dropout={text_dropout}", "dimension=16", "width=16"])
    log, cut = TrainingLog(prepared), cut_chunks(prepared, 3)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(cut.texts), TEXT)).astype(np.float32)
    table = ChunkTable(prepared, cut, vectors) if chunks else None
    torch.manual_seed(0)
    model = JointModel(prepared.num_items, TEXT, RECENT, config)
    nn.init.normal_(model.profile.out_text.weight)
    texts_It = torch.randn(prepared.num_items, TEXT)
    sampler = ItemSampler(
        model.item_head,
        texts_It,
        torch.from_numpy(log.has_event),
        num_negatives=config.negatives,
        id_dropout=0,
        bfloat16=False,
    )
    batch = next(profile_batches(log, table, RECENT, config, np.random.default_rng(1)))
    return float(EncoderLosses(model, sampler, texts_It, config).profile(batch).detach())


def test_a_position_without_any_encoded_chunk_is_trained_as_one_that_has_none() -> None:
    without = loss(0, chunks=False)
    assert abs(loss(0.999999, chunks=True) - without) < 1e-5
    assert abs(loss(0, chunks=True) - without) > 1e-2
