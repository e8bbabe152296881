"""Text encoders in torch: without padding, in half precision, and those that need padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, MPNetConfig, MPNetModel

from groundswell.models import text_encoder as module
from groundswell.models.text_encoder import TorchTextEncoder, load_torch_encoder
from tests.support.text_encoders import text_encoder

MAX_TOKENS = 64
TEXTS = ["Fargo", "A long title, " * 40, "", "Vertigo; Rope; Psycho", "七人の侍", "Topaz " * 9]


def _padded(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """Encode each text alone, with a model that knows nothing of packing."""
    encoder = load_torch_encoder(folder, MAX_TOKENS, "cpu")
    tokens = [encoding.ids for encoding in _tokenizer(folder).encode_batch(texts)]
    plain = module._Padded(AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), 1)
    assert encoder.is_packed
    with torch.inference_mode():
        return np.concatenate([plain([ids]).numpy() for ids in tokens])


def _tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


@pytest.mark.parametrize("budget", [1, 70, 4_096])
def test_packed_texts_have_the_vectors_of_padded_ones(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    folder = text_encoder()
    monkeypatch.setitem(module._BATCH_TOKENS, "cpu", budget)
    monkeypatch.setattr(module, "_SLICE", 4)
    encoder, done = load_torch_encoder(folder, MAX_TOKENS, "cpu"), list[int]()
    vectors = encoder.encode(TEXTS, done.append)
    assert (encoder.is_packed, sum(done)) == (True, len(TEXTS))
    np.testing.assert_allclose(vectors, _padded(folder, TEXTS), atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_half_precision_changes_a_vector_little() -> None:
    exact, half = (
        load_torch_encoder(text_encoder(), MAX_TOKENS, "cpu", bf16=bf16).encode(TEXTS)
        for bf16 in (False, True)
    )
    cosines = (exact * half).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert half.dtype == np.float32
    assert 0.999 < cosines.min() < 1


def test_a_model_whose_attention_knows_distances_is_padded() -> None:
    config = MPNetConfig(
        vocab_size=31_000,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(1)
    model = MPNetModel(config).eval()
    encoder = TorchTextEncoder(model, _tokenizer(text_encoder()))
    assert not encoder.is_packed
    together, alone = encoder.encode(TEXTS), [encoder.encode([text])[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)
