"""A bundle's text encoder on a torch device, for workers that have a GPU."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

from groundswell.artifacts.bundle import TEXT_ENCODER, Bundle
from groundswell.features.batches import token_batches
from groundswell.models.text_encoder import TextEncoder

_BATCH_TOKENS = {"cpu": 4_096, "cuda": 65_536}


class TorchTextEncoder:
    """Texts → mean-pooled fp32 vectors [n, t], in batches under a token budget."""

    def __init__(self, model: TextEncoder, tokenizer: Tokenizer, dimension: int) -> None:
        self.dimension = dimension
        self._model = model
        self._tokenizer = tokenizer
        device = next(model.parameters()).device.type
        self._batch_tokens = _BATCH_TOKENS.get(device, _BATCH_TOKENS["cpu"])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, in their order."""
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
        return vectors


def load_torch_encoder(bundle: Bundle, device: str) -> TorchTextEncoder:
    """Load a bundle's text encoder onto a device, in the precision of its fingerprint (fp32)."""
    folder = bundle.path / TEXT_ENCODER
    model = TextEncoder(AutoModel.from_pretrained(folder, dtype=torch.float32))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(bundle.manifest.text.max_tokens)
    return TorchTextEncoder(model.eval().to(device), tokenizer, bundle.manifest.text.dimension)
