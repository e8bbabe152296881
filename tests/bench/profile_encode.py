"""profile.encode: the worker's text backends against sentence-transformers' `encode`, two threads.

The texts are chunks of the world's histories and its items. The chosen backend is the one that
`encoder_backend=auto` takes on this machine; every backend's recall and speed are lines too.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from groundswell.artifacts.store import load_bundle
from groundswell.features.text import chunk_text, item_text
from groundswell.profile_service.worker.text_backends.backend import Machine
from groundswell.profile_service.worker.text_backends.choice import MIN_RECALL, load_encoders
from groundswell.profile_service.worker.text_backends.registry import BACKENDS
from groundswell.profile_service.worker.text_backends.trials import try_backends
from groundswell.trainer.text_encoder.resolve import DEFAULT, resolve_text_encoder
from tests.bench.harness import Line
from tests.bench.world import world

_NUM_CHUNKS = 256
_NUM_ITEMS = 400
_THREADS = 2
_PASSES = 3
_TARGET = 3.0


def measure(folder: Path) -> list[Line]:  # noqa: ARG001 - every area is called alike
    """Measure texts per second, both sides in turns, and what the speed costs."""
    bundle, machine = load_bundle(world().bundles), Machine(threads=_THREADS)
    manifest = bundle.manifest
    _, ours = load_encoders(bundle, "auto", machine, None)
    torch.set_num_threads(_THREADS)
    model = resolve_text_encoder(DEFAULT, manifest.text.max_tokens).folder
    peer = SentenceTransformer(str(model), device="cpu")
    peer.max_seq_length = manifest.text.max_tokens
    lines = []
    for kind, name, texts in _texts(manifest.chunk_length):
        num_tokens = sum(len(ids) for ids in peer.tokenizer(texts)["input_ids"])
        ours_s = theirs_s = 0.0
        for _ in range(_PASSES):
            ours_s += _seconds(ours.encode, texts)
            theirs_s += _seconds(peer.encode, texts)
        unit = f"× sentence-transformers' {kind}/s, {_THREADS} threads"
        line = Line(name, theirs_s / ours_s, unit)
        lines.append(line.at_least(_TARGET) if kind == "chunks" else line)
        rate, per_text = _PASSES * num_tokens / ours_s, num_tokens / len(texts)
        lines.append(Line(f"{name}.rate", rate, f"tokens/s, {per_text:.0f} a text"))
    for trial in try_backends(bundle, [*BACKENDS], machine):
        gate = Line(f"profile.encode.{trial.backend}", trial.recall, f"recall@10; {trial}")
        lines.append(gate.at_least(MIN_RECALL))
    return lines


def _texts(chunk_length: int) -> list[tuple[str, str, list[str]]]:
    """Return kind, name and texts: full chunks of histories, and items."""
    histories = defaultdict[str, list[str]](list)
    titles = {item_id: title for item_id, title, _ in world().items}
    for event in world().events():
        histories[event.user_id].append(titles[event.item_id])
    chunks = (
        chunk_text(history[start : start + chunk_length])
        for history in histories.values()
        for start in range(0, len(history) - chunk_length + 1, chunk_length)
    )
    items = [item_text(title, names) for _, title, names in world().items[:_NUM_ITEMS]]
    return [
        ("chunks", "profile.encode", list(islice(chunks, _NUM_CHUNKS))),
        ("items", "profile.encode.items", items),
    ]


def _seconds(encode: Callable[[list[str]], Any], texts: list[str]) -> float:
    begun_s = time.perf_counter()
    encode(texts)
    return time.perf_counter() - begun_s
