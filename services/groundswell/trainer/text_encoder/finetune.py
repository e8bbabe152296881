"""Fine-tunes a text encoder: the next item's text lies near the texts of the items before it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from groundswell.features.text import chunk_text
from groundswell.models.text_encoder import mean_pool
from groundswell.trainer.errors import DataError
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.run import Run
from groundswell.trainer.text_encoder.loop import FINETUNING, train_steps
from groundswell.trainer.text_encoder.resolve import load_encoder, save_encoder
from groundswell.trainer.text_encoder.tokens import TokenIds

_LEARNING_RATE = {"lora": 3e-4, "full": 3e-5}
_BATCH = 64
_PASSES = 2
_STEPS = (50, 2_000)
_RECENT = 8
_TEMPERATURE = 0.05
_ADAPTER_DROPOUT = 0.05


class NextItems(NamedTuple):
    """B histories' recent items as texts, and the texts of what came next."""

    recent: tuple[Tensor, Tensor]
    """ids and mask [B, T]"""
    next: tuple[Tensor, Tensor]
    items: Tensor
    """int64[B] which item came next."""
    log_shares: Tensor
    """float32[B] log of that item's share of all targets."""


def finetune(base: Path, items: Sequence[str], log: TrainingLog, target: Path, run: Run) -> None:
    """Write into `target` the encoder in `base`, fine-tuned on training events alone.

    `items` are the texts of all items [N]. Adapters (Hu et al. 2021, LoRA) are merged into the
    weights, so what is written is a plain encoder. Raises DataError when no event follows another.
    """
    config = run.config
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    pairs = _Pairs(items, log, TokenIds(tokenizer, config.max_tokens), run)
    encoder = load_encoder(base)
    lora = config.text_encoder_finetune == "lora"
    if lora:
        adapters = LoraConfig(
            r=config.text_encoder_rank,
            lora_alpha=2 * config.text_encoder_rank,
            lora_dropout=_ADAPTER_DROPOUT,
            target_modules="all-linear",
        )
        encoder = get_peft_model(encoder, adapters)
    encoder = encoder.to(run.device)
    passes = _PASSES * pairs.num_pairs // _BATCH
    steps = config.text_encoder_finetune_steps or min(max(passes, _STEPS[0]), _STEPS[1])
    rate = _LEARNING_RATE[config.text_encoder_finetune]
    train_steps(
        FINETUNING, encoder, pairs.batches(), lambda b: _losses(encoder, b), rate, steps, run
    )
    save_encoder(encoder.merge_and_unload() if lora else encoder, tokenizer, target)


def _losses(encoder: nn.Module, batch: NextItems) -> dict[str, Tensor]:
    recent_Bt, next_Bt = _vectors(encoder, batch.recent), _vectors(encoder, batch.next)
    return {"next_item": next_item_loss(recent_Bt, next_Bt, batch.items, batch.log_shares)}


def next_item_loss(recent_Bt: Tensor, next_Bt: Tensor, items: Tensor, log_shares: Tensor) -> Tensor:
    """InfoNCE: each history's next item among those of the batch; vectors are of length 1.

    Popular items are in a batch more often: the log of an item's share corrects it (Yi et al.
    2019, Sampling-Bias-Corrected Neural Modeling). An item is no negative of its own.
    """
    logits_BB = recent_Bt @ next_Bt.T / _TEMPERATURE - log_shares
    own_B = torch.arange(len(items), device=items.device)
    twin_BB = items[:, None] == items
    twin_BB[own_B, own_B] = False
    return functional.cross_entropy(logits_BB.masked_fill(twin_BB, -torch.inf), own_B)


def _vectors(encoder: nn.Module, tokens: tuple[Tensor, Tensor]) -> Tensor:
    ids, mask = tokens
    hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return functional.normalize(mean_pool(hidden, mask), dim=1)


class _Pairs:
    """Training targets with a past and a text, and what their users had just before."""

    def __init__(
        self, items: Sequence[str], log: TrainingLog, token_ids: TokenIds, run: Run
    ) -> None:
        self._prepared = prepared = log.prepared
        self._items = items
        self._token_ids = token_ids
        self._device = run.device
        self._rng = np.random.default_rng(run.seed)
        has_text = np.array([bool(text.strip()) for text in items])[prepared.items]
        self._begin = prepared.offsets[prepared.users]
        has_past = np.arange(len(has_text)) > self._begin
        self._events = np.flatnonzero(log.is_target & has_text & has_past)
        counts = np.bincount(prepared.items[self._events], minlength=len(items))
        if np.count_nonzero(counts) < 2:
            raise DataError("text_encoder.finetune needs next items with texts to tell apart")
        with np.errstate(divide="ignore"):
            self._log_shares = np.log(counts / counts.sum()).astype(np.float32)

    @property
    def num_pairs(self) -> int:
        return len(self._events)

    def batches(self) -> Iterator[NextItems]:
        size = min(_BATCH, len(self._events))
        while True:
            shuffled = self._rng.permutation(self._events)
            for start in range(0, len(shuffled) - size + 1, size):
                yield self._batch(shuffled[start : start + size])

    def _batch(self, events: NDArray[np.int64]) -> NextItems:
        titles, items = self._prepared.titles, self._prepared.items
        # As short as a session's start and as long as half a chunk: both are encoded later.
        lengths = self._rng.integers(1, _RECENT + 1, len(events))
        first = np.maximum(self._begin[events], events - lengths)
        recent = [
            chunk_text([titles[item] for item in items[begin:event]])
            for begin, event in zip(first.tolist(), events.tolist(), strict=True)
        ]
        following = items[events].astype(np.int64)
        return NextItems(
            self._tokens(recent),
            self._tokens([self._items[item] for item in following]),
            torch.from_numpy(following).to(self._device),
            torch.from_numpy(self._log_shares[following]).to(self._device),
        )

    def _tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        return self._token_ids.batch(self._token_ids.encode(texts)).tensors(self._device)
