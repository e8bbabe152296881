"""Exports trained models to the ONNX files of a bundle, and compares each with its model."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.artifacts import bundle as files
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.actions import NUM_ACTIONS
from groundswell.features.gate import NUM_GATE_FEATURES
from groundswell.models.fusion import FusionGate
from groundswell.models.interest_head import InterestHead
from groundswell.models.item_head import ItemHead
from groundswell.models.profile_encoder import ProfileEncoder
from groundswell.models.session_transformer import SessionTransformer
from groundswell.trainer.errors import ExportError

_TOLERANCE = 1e-4
_OPSET = 18


@dataclass(frozen=True)
class Trained:
    """All trained models, on the CPU and in evaluation mode."""

    item_head: ItemHead
    context_head: ItemHead
    session: SessionTransformer
    profile: ProfileEncoder
    gate: FusionGate
    interest_head: InterestHead | None


class Input(NamedTuple):
    """One input of an exported model: examples and which dimensions may vary."""

    name: str
    dims: tuple[str, ...]
    """Names of the leading dimensions that vary, outermost first."""


_BATCH, _LENGTH, _RECENT = "batch", "length", "recent"
_RECENT_INPUTS = ("recent_vectors", "recent_actions", "recent_gaps", "recent_starts")


def export_models(folder: Path, trained: Trained, window_length: int, recent_length: int) -> None:
    """Write every ONNX file of a bundle. Raises ExportError when one differs from its model."""
    d = trained.session.out.out_features + 1
    t = trained.profile.chunks.project.in_features
    c = trained.profile.events.item.in_features
    chunks = trained.profile.chunks.max_chunks
    window = [Input(n, (_BATCH, _LENGTH)) for n in ("item_vectors", "actions", "gaps", "starts")]
    export(
        trained.session,
        folder / files.SESSION,
        [*window, Input("lengths", (_BATCH,))],
        "short_vectors",
        [
            _windows(b, min(n, window_length), d)
            for b, n in ((2, 3), (1, 1), (3, 7), (2, window_length))
        ],
    )
    export(
        trained.profile,
        folder / files.PROFILE_HEAD,
        [
            Input("chunk_vectors", (_BATCH, _LENGTH)),
            Input("chunk_ages", (_BATCH, _LENGTH)),
            Input("num_chunks", (_BATCH,)),
            *(Input(n, (_BATCH, _RECENT)) for n in _RECENT_INPUTS),
            Input("recent_lengths", (_BATCH,)),
        ],
        "long_vectors",
        [
            (*_histories(b, n, t), *_windows(b, min(m, recent_length), c))
            for b, n, m in ((2, 3, 4), (1, 1, 1), (3, 7, 2), (2, chunks, recent_length))
        ],
    )
    export(
        trained.gate,
        folder / files.FUSION,
        [Input(n, (_BATCH,)) for n in ("short_vectors", "long_vectors", "gate_features")],
        "alphas",
        [
            (torch.randn(b, d), torch.randn(b, d), torch.rand(b, NUM_GATE_FEATURES) * 5)
            for b in (2, 1, 5)
        ],
    )
    rows = [torch.tensor([0, -1]), torch.tensor([-1]), torch.tensor([-1, 0, 0])]
    heads = (
        (trained.item_head, files.ITEM_HEAD, "item_vectors"),
        (trained.context_head, files.CONTEXT_HEAD, "context_vectors"),
    )
    for head, name, output in heads:
        export(
            head,
            folder / name,
            [Input("text_vectors", (_BATCH,)), Input("rows", (_BATCH,))],
            output,
            [(torch.randn(len(r), t), r) for r in rows],
        )
    if trained.interest_head is not None:
        export(
            trained.interest_head,
            folder / files.INTEREST_HEAD,
            [Input("vectors", (_BATCH,))],
            "probabilities",
            [(torch.randn(b, d),) for b in (2, 1, 5)],
        )


def export(
    module: nn.Module,
    path: Path,
    inputs: Sequence[Input],
    output: str,
    examples: Sequence[tuple[Tensor, ...]],
) -> None:
    """Export a model by its first example and compare both on all of them.

    Raises ExportError naming the file and the difference.
    """
    # The exporter would merge inputs that are the same object.
    first = [value.clone() for value in examples[0]]
    with _quiet():
        torch.onnx.export(
            module,
            tuple(first),
            f=str(path),
            dynamic_axes={one.name: dict(enumerate(one.dims)) for one in inputs},
            input_names=[one.name for one in inputs],
            output_names=[output],
            opset_version=_OPSET,
            dynamo=False,  # thirty times as fast: docs/decisions/export.md
        )
    exported = OnnxModel(path)
    for example in examples:
        named = {i.name: v.numpy() for i, v in zip(inputs, example, strict=True)}
        with torch.inference_mode():
            expected = module(*example).numpy()
        got = exported.run(**named)
        scale = max(1.0, float(np.abs(expected).max()))
        difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else np.inf
        if not difference <= _TOLERANCE * scale:
            shapes = {name: value.shape for name, value in named.items()}
            raise ExportError(f"{path.name} differs by {difference:.2g} from its model at {shapes}")


def _windows(batch: int, length: int, dimension: int) -> tuple[Tensor, ...]:
    return (
        torch.randn(batch, length, dimension),
        torch.randint(1, NUM_ACTIONS, (batch, length)),
        torch.rand(batch, length) * 10,
        torch.randint(0, 2, (batch, length)).float(),
        # Full, empty, and one between.
        torch.tensor([length, 0, length // 2])[:batch],
    )


def _histories(batch: int, chunks: int, width: int) -> tuple[Tensor, ...]:
    return (
        torch.randn(batch, chunks, width),
        torch.rand(batch, chunks) * 5,
        torch.tensor([chunks, 0, chunks // 2])[:batch],
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's own warnings: what it exported is compared with the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
