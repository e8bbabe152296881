"""Texts as token ids, which training cuts, masks and joins to batches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor


class TokenIds:
    """Token ids of texts, without the special tokens at the ends."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        sample = tokenizer.encode("a")
        inner = np.flatnonzero(np.asarray(sample.special_tokens_mask) == 0)
        first, last = (int(inner[0]), int(inner[-1])) if len(inner) else (0, -1)
        self._before, self._after = sample.ids[:first], sample.ids[last + 1 :]
        self._room = max_tokens - len(self._before) - len(self._after)
        self.size = tokenizer.get_vocab_size()

    def mask_token(self) -> int | None:
        """Return the id that stands for a masked token; None when there is none."""
        ids = (self._tokenizer.token_to_id(token) for token in ("[MASK]", "<mask>"))
        return next((number for number in ids if number is not None), None)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's ids, cut to what fits beside the special tokens."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids[: self._room] for encoding in encodings]

    def batch(self, texts: Sequence[Sequence[int]]) -> "Batch":
        """Put the special tokens around each text's ids and pad on the right."""
        start = len(self._before)
        longest = max(len(ids) for ids in texts) + start + len(self._after)
        input_ids = np.zeros((len(texts), longest), np.int64)
        attention_mask = np.zeros_like(input_ids)
        inner = np.zeros(input_ids.shape, bool)
        for row, ids in enumerate(texts):
            whole = [*self._before, *ids, *self._after]
            input_ids[row, : len(whole)] = whole
            attention_mask[row, : len(whole)] = 1
            inner[row, start : start + len(ids)] = True
        return Batch(input_ids, attention_mask, inner)


class Batch(NamedTuple):
    """B texts, T tokens."""

    input_ids: NDArray[np.int64]
    """[B, T]"""
    attention_mask: NDArray[np.int64]
    """[B, T] 1 means a real token."""
    inner: NDArray[np.bool_]
    """[B, T] True for a token of the text itself."""

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return `input_ids` and `attention_mask` on a device."""
        ids, mask = torch.from_numpy(self.input_ids), torch.from_numpy(self.attention_mask)
        return ids.to(device), mask.to(device)
