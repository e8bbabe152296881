"""Trains a run's own text encoder, or takes the one that an earlier run with its inputs kept."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from groundswell.trainer.dataset.prepared import TRAIN
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.run import Run
from groundswell.trainer.text_encoder.corpus import pretraining_texts
from groundswell.trainer.text_encoder.loop import FINETUNING, PRETRAINING
from groundswell.trainer.text_encoder.resolve import EncoderFolder, resolve_text_encoder

RECIPE = 1
"""Part of what names a trained encoder: raise it whenever the same input trains another."""
_HASH_LENGTH = 16
_SETTINGS = {
    PRETRAINING: ("pretrain", "layers", "width", "vocabulary", "steps"),
    FINETUNING: ("finetune", "finetune_steps", "rank"),
}


def own_encoder(items: Sequence[str], log: TrainingLog, cache: Path, run: Run) -> EncoderFolder:
    """Return the encoder that the settings name, trained on the log where they say so.

    `items` are the texts of all items [N]; only training events are read. What `cache` holds from
    an earlier run with the same texts, events, settings and seed is not trained again. Raises
    DataError when there is no such encoder or nothing to train it on, TrainError when it diverges.
    """
    config = run.config
    encoder = pretrained_encoder(
        lambda: pretraining_texts(items, log, config.chunk_length, run.seed), cache, run
    )
    if config.text_encoder_finetune == "none":
        return encoder
    # It brings adapters' library, which takes seconds and which few runs need.
    from groundswell.trainer.text_encoder.finetune import finetune

    made_of = _digest(
        _weights(encoder.folder), *_training_events(log), *items, *log.prepared.titles
    )
    base = encoder.folder
    folder = _kept(cache, made_of, FINETUNING, lambda to: finetune(base, items, log, to, run), run)
    return EncoderFolder(folder, f"{encoder.source}+{config.text_encoder_finetune}")


def pretrained_encoder(texts: Callable[[], Sequence[str]], cache: Path, run: Run) -> EncoderFolder:
    """Return the encoder that the settings name, pre-trained on `texts` where they say so."""
    config = run.config
    if config.text_encoder_pretrain == "none":
        return resolve_text_encoder(config.text_encoder, config.max_tokens)
    # It brings the models of transformers, which take seconds and which few runs need.
    from groundswell.trainer.text_encoder.pretrain import pretrain

    corpus = texts()
    if config.text_encoder == "default":
        base, source = None, "own"
    else:
        base, source = resolve_text_encoder(config.text_encoder, config.max_tokens)
    made_of = _digest("scratch" if base is None else _weights(base), *corpus)
    folder = _kept(cache, made_of, PRETRAINING, lambda to: pretrain(base, corpus, to, run), run)
    return EncoderFolder(folder, f"{source}+mlm")


def _training_events(log: TrainingLog) -> Sequence[bytes]:
    """All that fine-tuning reads of a log: users' training events in their order, as bytes."""
    prepared = log.prepared
    begins, inside = prepared.offsets[:-1], prepared.split_of == TRAIN
    arrays = (log.ends - begins, prepared.items[inside], log.is_target[inside])
    return [array.tobytes() for array in arrays]


def _kept(cache: Path, made_of: str, stage: str, make: Callable[[Path], None], run: Run) -> Path:
    """Return the folder of an encoder, made if need be; another process may be making it, too."""
    settings = [getattr(run.config, f"text_encoder_{name}") for name in _SETTINGS[stage]]
    named = json.dumps([RECIPE, stage, settings, run.config.max_tokens, run.seed])
    folder = cache / _digest(named, run.device.type, made_of)[:_HASH_LENGTH]
    if folder.exists():
        run.progress.add_task(stage, total=1, completed=1, note="as an earlier run left it")
        return folder
    building = cache / f"{folder.name}.{uuid.uuid4().hex}.building"
    building.mkdir(parents=True)
    # The result must not depend on whether an earlier stage was cached.
    torch.manual_seed(run.seed)
    try:
        make(building)
        try:
            building.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _weights(folder: Path) -> str:
    parts = []
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        with (folder / name).open("rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
    return _digest(*parts)


def _digest(*parts: str | bytes) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()
