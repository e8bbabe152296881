"""A bundle's text encoder, run by onnxruntime and the `tokenizers` library alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.batches import token_batches

_BATCH_TOKENS = 512
"""For each thread: the values computed from them stay in the processor's cache."""
_SLICE = 8_192
_UNKNOWN = ("[UNK]", "<unk>")
"""What the families of tokenizers write for what their vocabulary lacks; byte-level ones nothing.
"""


class OnnxTextEncoder:
    """Texts → mean-pooled vectors, in batches under a token budget.

    `folder` is a bundle's `text_encoder/`; `model` is another file than the one in it. Longer texts
    are cut at `max_tokens`.
    Raises BundleError (BUNDLE_CORRUPT) when a file cannot be loaded.
    """

    def __init__(
        self, folder: Path, max_tokens: int, threads: int = 1, *, model: Path | None = None
    ) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            message = f"text_encoder/tokenizer.json cannot be loaded: {error}"
            raise BundleError("BUNDLE_CORRUPT", message) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        ids = (self._tokenizer.token_to_id(token) for token in _UNKNOWN)
        self._unknown = next((number for number in ids if number is not None), None)
        self._batch_tokens = _BATCH_TOKENS * threads
        self._model = OnnxModel(model or folder / "model.onnx", threads)
        try:
            self.dimension = self._run([self._tokenizer.encode("warm up").ids]).shape[1]
        except Exception as error:
            message = f"text_encoder/model.onnx cannot be run: {error}"
            raise BundleError("BUNDLE_CORRUPT", message) from error

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return [n, t] vectors, in the order of `texts`; `progress` gets how many are done."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _SLICE):
            tokens = self.tokenise(texts[start : start + _SLICE])
            vectors[start : start + len(tokens)] = self.encode_tokens(tokens, progress)
        return vectors

    def tokenise(self, texts: Sequence[str]) -> list[Encoding]:
        """Return the tokens of each text, cut at `max_tokens`."""
        return self._tokenizer.encode_batch_fast(list(texts))

    def encode_tokens(
        self, tokens: Sequence[Encoding], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return [n, t] vectors of tokenised texts, as `encode`."""
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        ids = [encoding.ids for encoding in tokens]
        for batch in token_batches([len(x) for x in ids], self._batch_tokens):
            vectors[batch] = self._run([ids[i] for i in batch])
            if progress is not None:
                progress(len(batch))
        return vectors

    def unknown_share(self, tokens: Encoding) -> float:
        """Return the share of a text's tokens that the vocabulary lacks; 1 without any token."""
        num_tokens = len(tokens.ids) - sum(tokens.special_tokens_mask)
        if num_tokens == 0:
            return 1.0
        return 0.0 if self._unknown is None else tokens.ids.count(self._unknown) / num_tokens

    def _run(self, batch: list[list[int]]) -> NDArray[np.float32]:
        longest = max(len(ids) for ids in batch)
        input_ids = np.zeros((len(batch), longest), dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        return self._model.run(input_ids=input_ids, attention_mask=attention_mask)
