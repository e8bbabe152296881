"""Pre-trains a text encoder: it predicts masked tokens, and which two parts are of one text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, PreTrainedModel

from groundswell.models.text_encoder import TokenHead, mean_pool
from groundswell.trainer.config import HEAD_WIDTH
from groundswell.trainer.errors import DataError
from groundswell.trainer.inputs.training_log import batches_by_length
from groundswell.trainer.loop.run import Run
from groundswell.trainer.text_encoder.loop import PRETRAINING, train_steps
from groundswell.trainer.text_encoder.resolve import load_encoder, save_encoder
from groundswell.trainer.text_encoder.sizes import BATCH_TEXTS, Sizes, sizes_for
from groundswell.trainer.text_encoder.tokens import TokenIds
from groundswell.trainer.text_encoder.wordpiece import train_wordpiece

_LEARNING_RATE = {"scratch": 2e-3, "given": 1e-4}
_MASKED = 0.15
_AS_MASK, _AS_ANOTHER = 0.8, 0.1
_TEMPERATURE = 0.05
_INTERMEDIATE = 2
_RUN = 3
"""Tokens on average."""


class MaskedPairs(NamedTuple):
    """2B masked texts, T tokens: rows x and B + x are two parts of one text."""

    input_ids: Tensor
    """[2B, T]"""
    attention_mask: Tensor
    """[2B, T]"""
    masked: Tensor
    """bool[2B, T] True where a token is to be told."""
    told: Tensor
    """[n] the tokens there."""


class PretrainingModel(nn.Module):
    """An encoder, and the head that tells its masked tokens."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        embeddings = encoder.get_input_embeddings()
        assert isinstance(embeddings, nn.Embedding)
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.head = TokenHead(width, embeddings.embedding_dim, embeddings.num_embeddings)
        self._embeddings = embeddings

    def losses(self, batch: MaskedPairs) -> dict[str, Tensor]:
        """Return "mlm" (Devlin et al. 2019) and "parts" (InfoNCE; van den Oord et al. 2018).

        The means of an encoder of masked tokens alone all look alike. Telling a text's second part
        from those of other texts by its first part spreads them by what they are about.
        """
        hidden_BTt = self.encoder(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask
        ).last_hidden_state
        logits_nV = self.head(hidden_BTt[batch.masked], self._embeddings.weight)
        mlm = functional.cross_entropy(logits_nV.float(), batch.told, reduction="sum")
        vectors = functional.normalize(mean_pool(hidden_BTt, batch.attention_mask), dim=1)
        first_Bt, second_Bt = vectors.chunk(2)
        similar_BB = first_Bt @ second_Bt.T / _TEMPERATURE
        own_B = torch.arange(len(first_Bt), device=similar_BB.device)
        parts = functional.cross_entropy(similar_BB, own_B)
        return {"mlm": mlm / max(1, len(batch.told)), "parts": parts}


def pretrain(base: Path | None, texts: Sequence[str], target: Path, run: Run) -> None:
    """Write into `target` an encoder trained on the texts, in Hugging Face's layout.

    Without a `base` it is a small BERT with a vocabulary of its own; a base keeps its vocabulary
    and shape and goes on from its weights. Raises DataError for a base without a mask token, or
    without texts to learn from.
    """
    sizes = sizes_for(texts, run.config)
    if base is None:
        tokenizer = train_wordpiece(texts, sizes.vocabulary)
        encoder = _small_bert(sizes, tokenizer, run.config.max_tokens)
    else:
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        encoder = load_encoder(base)
    token_ids = TokenIds(tokenizer, run.config.max_tokens)
    mask_token = token_ids.mask_token()
    if mask_token is None:
        raise DataError(f"{run.config.text_encoder} has no mask token: it has no masked language")
    encoded = [ids for ids in token_ids.encode(texts) if ids]
    if len(encoded) < 2:
        raise DataError("text_encoder.pretrain=mlm needs two texts or more to learn from")
    model = PretrainingModel(encoder).to(run.device)
    masking = Masking(token_ids, mask_token, run)
    rate = _LEARNING_RATE["scratch" if base is None else "given"]
    train_steps(PRETRAINING, model, masking.batches(encoded), model.losses, rate, sizes.steps, run)
    save_encoder(encoder, tokenizer, target)


class Masking:
    """Encoded texts → endless batches of their parts, some tokens of each hidden."""

    def __init__(self, token_ids: TokenIds, mask_token: int, run: Run) -> None:
        self._token_ids = token_ids
        self._mask_token = mask_token
        self._device = run.device
        self._rng = np.random.default_rng(run.seed)

    def batches(self, texts: Sequence[Sequence[int]]) -> Iterator[MaskedPairs]:
        """Yield batches of texts of about one length; one text alone has nothing to differ from."""
        lengths = np.array([len(ids) for ids in texts])
        size = min(BATCH_TEXTS, len(texts))
        while True:
            for rows in batches_by_length(lengths, size, self._rng):
                if len(rows) > 1:
                    yield self._hidden([texts[row] for row in rows])

    def _hidden(self, texts: Sequence[Sequence[int]]) -> MaskedPairs:
        parts = [self._parts(ids) for ids in texts]
        batch = self._token_ids.batch([*(a for a, _ in parts), *(b for _, b in parts)])
        masked = batch.inner & (self._rng.random(batch.inner.shape) < _MASKED)
        told = batch.input_ids[masked]
        batch.input_ids[masked] = self._shown(told)
        ids, mask = batch.tensors(self._device)
        places = torch.from_numpy(masked).to(self._device)
        return MaskedPairs(ids, mask, places, torch.from_numpy(told).to(self._device))

    def _shown(self, told: NDArray[np.int64]) -> NDArray[np.int64]:
        """Mostly the mask; some another token, some themselves, as BERT was trained."""
        draw = self._rng.random(len(told))
        other = self._rng.integers(self._token_ids.size, size=len(told))
        shown = np.where(draw < _AS_MASK + _AS_ANOTHER, other, told)
        return np.where(draw < _AS_MASK, self._mask_token, shown)

    def _parts(self, ids: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Deal a text's runs of a few tokens to two parts; one alone is its own other part.

        Both parts are then about the same, in words that are whole and not the same.
        """
        second = np.cumsum(self._rng.random(len(ids)) < 1 / _RUN) % 2 == 1
        if second.all() or not second.any():
            second = np.arange(len(ids)) >= len(ids) // 2
        tokens = np.asarray(ids)
        return tokens[~second if len(ids) > 1 else second].tolist(), tokens[second].tolist()


def _small_bert(sizes: Sizes, tokenizer: Tokenizer, max_tokens: int) -> BertModel:
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.width // HEAD_WIDTH,
        intermediate_size=_INTERMEDIATE * sizes.width,
        max_position_embeddings=max_tokens,
    )
    encoder = BertModel(config)
    # Few texts are of full length: a position that none reached must add nothing.
    nn.init.zeros_(encoder.embeddings.position_embeddings.weight)
    return encoder
