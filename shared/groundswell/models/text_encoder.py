"""The text encoder: any Hugging Face encoder, mean-pooled over a text's real tokens."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from groundswell.features.batches import token_batches, token_packs
from groundswell.models.packed_attention import PACKED, register_packed_attention

_log = structlog.get_logger(__name__)

# B texts · T tokens of a text, or of all texts where they are packed · t the encoder's width


class TextEncoder(nn.Module):
    """Token ids → one vector per text, as sentence encoders of the BERT family are trained.

    `encoder` is a Hugging Face model whose output has `last_hidden_state` [B, T, t].
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return [B, t] float32 means of the last layer; mask 1 means a real token."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return mean_pool(output.last_hidden_state, attention_mask)


class TokenHead(nn.Module):
    """Hidden states → logits over the vocabulary, tied to the encoder's own token embeddings.

    The head of masked-language modelling (Devlin et al. 2019, BERT, section 3.1). e is the width of
    the embeddings, V the size of the vocabulary, n masked tokens.
    """

    def __init__(self, width: int, embedding_width: int, vocabulary: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(
            nn.Linear(width, embedding_width), nn.GELU(), nn.LayerNorm(embedding_width)
        )
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden_nt: Tensor, embeddings_Ve: Tensor) -> Tensor:
        """Return [n, V] logits."""
        transformed_ne: Tensor = self.transform(hidden_nt)
        return transformed_ne @ embeddings_Ve.T + self.bias


def mean_pool(hidden_BTt: Tensor, attention_mask: Tensor) -> Tensor:
    """Return [B, t] float32 means over real tokens; mask 1 means a real token."""
    mask_BT1 = attention_mask[..., None].float()
    return (hidden_BTt.float() * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)


_BATCH_TOKENS = {"cpu": 4_096, "cuda": 65_536}
_SLICE = 4_096
"""Texts that are tokenised while the model reads those before them."""
_PROBES = ["a text", "another text, which is longer than the first one", "7"]
_SAME = 0.999
"""The least cosine of a text's vectors with and without padding: bf16 changes less."""


class _Padded:
    """Gives each text of a batch a row of its own, filled up to the longest one."""

    def __init__(self, encoder: Any, budget: int) -> None:
        self._model = TextEncoder(encoder)
        self._device = encoder.device
        self._budget = budget

    def batches(self, lengths: Sequence[int]) -> list[NDArray[np.int64]]:
        return token_batches(lengths, self._budget)

    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        lengths_B = torch.tensor([len(one) for one in ids])
        mask_BT = (torch.arange(int(lengths_B.max())) < lengths_B[:, None]).long()
        input_ids = torch.zeros_like(mask_BT)
        input_ids[mask_BT.bool()] = torch.tensor(list(chain.from_iterable(ids)))
        vectors: Tensor = self._model(input_ids.to(self._device), mask_BT.to(self._device))
        return vectors


class _Packed:
    """Puts the texts of a batch into one row, one after the other.

    What goes to a GPU is written into pinned memory. There are two such buffers, so that the one is
    filled while the other one is copied.
    """

    def __init__(self, encoder: Any, budget: int) -> None:
        self._encoder = encoder
        self._budget = budget
        self._buffers = [_Buffer(budget, encoder.device) for _ in range(2)]

    def batches(self, lengths: Sequence[int]) -> list[NDArray[np.int64]]:
        return token_packs(lengths, self._budget)

    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        self._buffers.reverse()
        tokens_T, positions_T, ends = self._buffers[0].copy(ids)
        output = self._encoder(
            input_ids=tokens_T[None],
            position_ids=positions_T[None],
            cu_seq_lens_q=ends,
            cu_seq_lens_k=ends,
            max_length_q=(longest := max(map(len, ids))),
            max_length_k=longest,
        )
        hidden_Tt, lengths_B = output.last_hidden_state[0].float(), ends.diff().long()
        sums_Bt = torch.segment_reduce(hidden_Tt, "sum", lengths=lengths_B, unsafe=True)
        return sums_Bt / lengths_B[:, None].clamp(min=1)


class _Buffer:
    """Host memory for one packed batch on its way to a device."""

    def __init__(self, budget: int, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        size = (budget,)
        self._tokens, self._positions = (self._zeros(size, torch.int64) for _ in range(2))
        self._ends = self._zeros((budget + 1,), torch.int32)
        self._copied = torch.cuda.Event() if self._on_gpu else None

    def copy(self, ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Copy tokens [T], positions [T] and the ends [B + 1] of texts to the device."""
        if self._copied is not None:
            self._copied.synchronize()
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        ends = np.concatenate(([0], np.cumsum(lengths)))
        num = int(ends[-1])
        self._tokens.numpy()[:num] = np.fromiter(chain.from_iterable(ids), np.int64, num)
        self._positions.numpy()[:num] = np.arange(num) - np.repeat(ends[:-1], lengths)
        self._ends.numpy()[: len(ends)] = ends
        parts = (self._tokens[:num], self._positions[:num], self._ends[: len(ends)])
        copies = [part.to(self._device, non_blocking=True) for part in parts]
        if self._copied is not None:
            self._copied.record()
        return copies

    def _zeros(self, size: tuple[int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(size, dtype=dtype, pin_memory=self._on_gpu)


class TorchTextEncoder:
    """Texts → mean-pooled vectors [n, t], in batches under a token budget.

    Texts are tokenised in a thread of their own, beside the model.
    """

    def __init__(self, encoder: Any, tokenizer: Tokenizer) -> None:
        """Take an encoder of Hugging Face's, and its tokenizer, which cuts and does not pad."""
        self.dimension = int(encoder.config.hidden_size)
        self._device = encoder.device
        self._tokenizer = tokenizer
        budget = _BATCH_TOKENS.get(encoder.device.type, _BATCH_TOKENS["cpu"])
        longest = int((tokenizer.truncation or {"max_length": 0})["max_length"])
        self._model = _model(encoder, self._tokenise(_PROBES), max(budget, longest))

    @property
    def is_packed(self) -> bool:
        """Whether no text is padded."""
        return isinstance(self._model, _Packed)

    @torch.inference_mode()
    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Encode texts, in their order; `progress` is called with how many are done."""
        parts = [np.zeros((0, self.dimension), np.float32)]
        for ids in self._tokenised(texts):
            vectors_nt = torch.empty((len(ids), self.dimension), device=self._device)
            for batch in self._model.batches([len(one) for one in ids]):
                rows = torch.from_numpy(batch).to(self._device)
                vectors_nt[rows] = self._model([ids[i] for i in batch])
                if progress is not None:
                    progress(len(batch))
            parts.append(vectors_nt.cpu().numpy())
        return np.concatenate(parts)

    def _tokenised(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        """Yield the token ids of some texts while those of the next ones are made."""
        with ThreadPoolExecutor(1, "tokeniser") as thread:
            before = None
            for start in range(0, len(texts), _SLICE):
                coming = thread.submit(self._tokenise, texts[start : start + _SLICE])
                if before is not None:
                    yield before.result()
                before = coming
            if before is not None:
                yield before.result()

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]


@torch.inference_mode()
def _model(encoder: Any, probes: list[list[int]], budget: int) -> _Padded | _Packed:
    """Return the encoder without padding where that gives the same vectors, else with it."""
    padded = _Padded(encoder, budget)
    if encoder.device.type == "cuda" and encoder.dtype == torch.float32:
        return padded  # there is no kernel for it
    usual, due = encoder.config._attn_implementation, padded(probes)
    register_packed_attention()
    try:
        encoder.set_attn_implementation(PACKED)
        packed = _Packed(encoder, budget)
        if (torch.cosine_similarity(packed(probes), due) > _SAME).all():
            return packed
    except Exception as error:  # noqa: BLE001 - models of other families fail in many ways
        _log.info("text_encoder_pads", model=type(encoder).__name__, problem=repr(error))
    encoder.set_attn_implementation(usual)
    return padded


def load_torch_encoder(
    folder: Path, max_tokens: int, device: str, *, bf16: bool = False
) -> TorchTextEncoder:
    """Load an encoder in Hugging Face's layout onto a device; longer texts are cut.

    It computes in fp32, or in bf16. Its vectors are fp32.
    """
    # Imported when it is used: it takes five seconds, and training runs the exported encoder.
    from transformers import AutoModel

    dtype = torch.bfloat16 if bf16 else torch.float32
    encoder = AutoModel.from_pretrained(folder, dtype=dtype).eval().to(device)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return TorchTextEncoder(encoder, tokenizer)
