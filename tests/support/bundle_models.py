"""The models of a tiny bundle: untrained heads of the right shapes, exported to ONNX."""

import hashlib
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from groundswell.artifacts import bundle as files
from groundswell.trainer.bundle.onnx import Input, export
from tests.support import bundles
from tests.support.bundles import CATEGORIES, CONTEXT_DIMENSION, DIMENSION, ITEMS, TEXT_DIMENSION
from tests.support.shared import CHECKOUT, made_once

_Inputs = dict[str, tuple[tuple[str, ...], Tensor]]
"""Example inputs of an export by name, with the names of the leading dimensions that vary."""

_BATCH = ("batch",)


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
    length, recent = ("batch", "length"), ("batch", "recent")
    ids, zeros, ones = torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, 3), torch.ones(2).long()
    text, vector = torch.randn(2, TEXT_DIMENSION), torch.randn(2, DIMENSION)
    item: _Inputs = {"text_vectors": (_BATCH, text), "rows": (_BATCH, ones)}
    signatures: dict[str, tuple[str, _Inputs]] = {
        files.SESSION: (
            "short_vectors",
            {
                "item_vectors": (length, torch.randn(2, 3, DIMENSION)),
                "actions": (length, ids),
                "gaps": (length, zeros),
                "starts": (length, zeros),
                "lengths": (_BATCH, ones),
            },
        ),
        files.PROFILE_HEAD: (
            "long_vectors",
            {
                "chunk_vectors": (length, torch.randn(2, 4, TEXT_DIMENSION)),
                "chunk_ages": (length, torch.zeros(2, 4)),
                "num_chunks": (_BATCH, ones),
                "recent_vectors": (recent, torch.randn(2, 3, CONTEXT_DIMENSION)),
                "recent_actions": (recent, ids),
                "recent_gaps": (recent, zeros),
                "recent_starts": (recent, zeros),
                "recent_lengths": (_BATCH, ones),
            },
        ),
        files.FUSION: (
            "alphas",
            {
                "short_vectors": (_BATCH, vector),
                "long_vectors": (_BATCH, vector),
                "gate_features": (_BATCH, zeros),
            },
        ),
        files.INTEREST_HEAD: ("probabilities", {"vectors": (_BATCH, vector)}),
        files.ITEM_HEAD: ("item_vectors", item),
        files.CONTEXT_HEAD: ("context_vectors", item),
    }
    for file, module in _heads(len(ITEMS)).items():
        output, inputs = signatures[file]
        dims = [Input(name, dims) for name, (dims, _) in inputs.items()]
        export(module.eval(), folder / file, dims, output, [tuple(v for _, v in inputs.values())])


def _newest_most(lengths_B: Tensor, longest: int) -> Tensor:
    """[B, longest] weights: the newest event weighs most, so that the order of a window matters."""
    age_BL = (lengths_B[:, None] - 1 - torch.arange(longest)[None, :]).float()
    return torch.where(age_BL >= 0, torch.exp(-0.3 * age_BL.clamp(min=0)), 0.0)


def _with_bias(x_Bd: Tensor) -> Tensor:
    """The last dimension of a user's vector is 1: it meets the item's popularity bias."""
    return torch.cat([x_Bd[:, :-1], torch.ones_like(x_Bd[:, -1:])], -1)
