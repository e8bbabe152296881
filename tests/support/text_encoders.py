"""The packaged text encoder as training puts it into a bundle: an export of ten seconds."""

import shutil
from pathlib import Path

import torch

from groundswell.artifacts.bundle import TEXT_ENCODER
from groundswell.trainer.dataset.prepared import TEXT_VECTORS
from groundswell.trainer.text_encoder.resolve import (
    DEFAULT,
    put_text_encoder,
    resolve_text_encoder,
)
from tests.support.bundles import MAX_TOKENS
from tests.support.shared import CHECKOUT, made_once

_EXPORTS = "exported"


def text_encoder() -> Path:
    """The folder of the encoder in a bundle, made once per checkout; not to be changed."""
    return _made() / TEXT_ENCODER


def with_export(data: Path) -> Path:
    """Let training on prepared data find the export, as a second training on it does."""
    shutil.copytree(_made() / _EXPORTS, data / TEXT_VECTORS / _EXPORTS)
    return data


def _made() -> Path:
    return made_once(CHECKOUT, f"text-encoder-eager-{torch.__version__}", _make)


def _make(folder: Path) -> None:
    source = resolve_text_encoder(DEFAULT, MAX_TOKENS).folder
    put_text_encoder(source, folder / TEXT_ENCODER, MAX_TOKENS, folder / _EXPORTS)
