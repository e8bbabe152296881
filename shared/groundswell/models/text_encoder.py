"""The text encoder: any Hugging Face encoder, mean-pooled over a text's real tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel

from groundswell.features.batches import token_batches

# B texts · T tokens · t the encoder's width


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

    @torch.inference_mode()
    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As `forward`, without gradients, back on the CPU; inputs may be on any device."""
        device = next(self.parameters()).device
        vectors: Tensor = self(input_ids.to(device), attention_mask.to(device))
        return vectors.cpu()


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


class TorchTextEncoder:
    """Texts → mean-pooled fp32 vectors [n, t], in batches under a token budget."""

    def __init__(self, model: TextEncoder, tokenizer: Tokenizer, dimension: int) -> None:
        self.dimension = dimension
        self._model = model
        self._tokenizer = tokenizer
        device = next(model.parameters()).device.type
        self._batch_tokens = _BATCH_TOKENS.get(device, _BATCH_TOKENS["cpu"])

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Encode texts, in their order; `progress` is called with how many are done."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for batch in token_batches([len(x) for x in ids], self._batch_tokens):
            longest = max(len(ids[i]) for i in batch)
            input_ids = torch.zeros((len(batch), longest), dtype=torch.int64)
            attention_mask = torch.zeros_like(input_ids)
            for row, index in enumerate(batch):
                input_ids[row, : len(ids[index])] = torch.tensor(ids[index])
                attention_mask[row, : len(ids[index])] = 1
            vectors[batch] = self._model.encode(input_ids, attention_mask).numpy()
            if progress is not None:
                progress(len(batch))
        return vectors


def load_torch_encoder(folder: Path, max_tokens: int, device: str) -> TorchTextEncoder:
    """Load an encoder in Hugging Face's layout onto a device, in fp32; longer texts are cut."""
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
    model = TextEncoder(encoder).eval().to(device)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return TorchTextEncoder(model, tokenizer, int(encoder.config.hidden_size))
