"""One trained, immutable set of models and vectors, opened for reading."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.artifacts.private_copy import open_private, read_array
from groundswell.artifacts.row_finder import RowFinder
from groundswell.features.actions import NUM_ACTIONS

if TYPE_CHECKING:
    from groundswell.artifacts.text_onnx import OnnxTextEncoder

SESSION = "session.onnx"
FUSION = "fusion.onnx"
INTEREST_HEAD = "interest_head.onnx"
PROFILE_HEAD = "profile_head.onnx"
ITEM_HEAD = "item_head.onnx"
CONTEXT_HEAD = "context_head.onnx"
TEXT_ENCODER = "text_encoder"
ITEMS = "items.parquet"
ITEM_VECTORS = "item_vectors.npy"
INDEX = "index.faiss"
POPULARITY = "popularity.parquet"
NEIGHBOUR_ROWS = "neighbour_rows.npy"
NEIGHBOUR_SIMILARITIES = "neighbour_similarities.npy"
CANARY = "canary.parquet"
MODEL_CARD = "model_card.md"

REQUIRED = (
    SESSION,
    FUSION,
    PROFILE_HEAD,
    ITEM_HEAD,
    CONTEXT_HEAD,
    f"{TEXT_ENCODER}/model.onnx",
    f"{TEXT_ENCODER}/tokenizer.json",
    f"{TEXT_ENCODER}/config.json",
    f"{TEXT_ENCODER}/model.safetensors",
    ITEMS,
    ITEM_VECTORS,
    INDEX,
    POPULARITY,
    MODEL_CARD,
)
"""The files that every bundle has; `interest_head.onnx` only where there are categories."""

NEIGHBOURS = (NEIGHBOUR_ROWS, NEIGHBOUR_SIMILARITIES)
"""The files of the bundles whose manifest has `neighbours`, and of no others."""


_HEAD_ROWS = 8_192
_LONG_TEXT = 1_024
"""The most tokens of a text that an encoder is tried with; many have positions for 512 alone."""


class Canary(NamedTuple):
    """Means of ten or more users, and the best items for each by an exact search; q means."""

    short_vectors: NDArray[np.float32]
    """[q, d]"""
    long_vectors: NDArray[np.float32]
    """[q, d]"""
    gate_features: NDArray[np.float32]
    """[q, G]"""
    best_rows: NDArray[np.int32]
    """[q, k] the rows of the best items by the fused vector, by default α."""

    def write(self, folder: Path) -> None:
        """Write it into the folder of a bundle, a column for each array."""
        columns = {name: pa.array(list(array)) for name, array in self._asdict().items()}
        pq.write_table(pa.table(columns), folder / CANARY)


class Bundle:
    """A verified bundle; `store.load_bundle` makes it. Models are loaded when they are asked for.

    What is loaded lies in memory or is a private copy, so a server goes on when the files are cut
    short or removed.
    Every loader runs the model on a sample that reaches all its weights, and raises BundleError
    (BUNDLE_CORRUPT) when it fails, or its output has another shape than the manifest says or is not
    finite.
    """

    def __init__(self, bundle_id: str, path: Path, manifest: Manifest) -> None:
        self.id = bundle_id
        self.path = path
        self.manifest = manifest
        self._text_encoders: dict[int, OnnxTextEncoder] = {}

    @cached_property
    def item_ids(self) -> list[str]:
        """The items' ids, in row order."""
        ids: list[str] = column_of(self.path / ITEMS, "item_id").to_pylist()
        return ids

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each item id."""
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    @cached_property
    def row_finder(self) -> RowFinder:
        """The row of each item id, in little memory."""
        return RowFinder(column_of(self.path / ITEMS, "item_id"))

    @cached_property
    def item_vectors(self) -> NDArray[np.float32]:
        """[n, d] the items' vectors; `del` gives them back."""
        return _array(self.path / ITEM_VECTORS)

    @cached_property
    def popularity(self) -> NDArray[np.float64]:
        """[n] how often each item was acted on in training, in row order."""
        column = column_of(self.path / POPULARITY, "popularity").combine_chunks()
        # Not by `to_numpy`, for the reason in `column_of`.
        values: NDArray[np.float64] = np.from_dlpack(column).astype(np.float64)
        return values

    @cached_property
    def neighbour_rows(self) -> NDArray[np.int32]:
        """[n, K] the rows of each item's neighbours, -1 for none."""
        return _array(self.path / NEIGHBOUR_ROWS)

    @cached_property
    def neighbour_similarities(self) -> NDArray[np.float16]:
        """[n, K] how near they are, at least 0."""
        return _array(self.path / NEIGHBOUR_SIMILARITIES)

    def canary(self) -> Canary | None:
        """Read the canary queries; None without any. Raises BundleError (BUNDLE_CORRUPT)."""
        if self.manifest.canary is None:
            return None
        shape = (self.manifest.canary.num, -1)
        try:
            read = [column_of(self.path / CANARY, name) for name in Canary._fields]
            flat = [np.asarray(one.combine_chunks().flatten()) for one in read]
            canary = Canary(*(values.reshape(shape) for values in flat))
            rows = canary.best_rows
            is_good = all(np.isfinite(one).all() for one in canary[:3])
            is_good &= rows.dtype == np.int32 and 0 <= rows.min() <= rows.max() < len(self.item_ids)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise BundleError("BUNDLE_CORRUPT", f"{CANARY} cannot be read: {error}") from error
        if not is_good:
            raise BundleError("BUNDLE_CORRUPT", f"{CANARY} has values that do not fit the bundle")
        return canary

    def session_model(self, threads: int = 1) -> OnnxModel:
        """Load the session Transformer: window tensors → [B, d] short-term vectors."""
        d = self.manifest.dimension
        window = _windows(self.manifest.window_length)
        vectors = np.ones((*window["actions"].shape, d), np.float32)
        return self._model(SESSION, threads, d, item_vectors=vectors, **window)

    def profile_head(self, threads: int = 1) -> OnnxModel:
        """Load the profile head: chunks and newest events → [B, d] long-term vectors."""
        manifest = self.manifest
        recent = _windows(manifest.recent_length)
        size, length = recent["actions"].shape
        num_chunks = np.full(size, manifest.max_chunks, np.int64)
        num_chunks[0] = 0
        chunks = (size, manifest.max_chunks)
        return self._model(
            PROFILE_HEAD,
            threads,
            manifest.dimension,
            chunk_vectors=np.ones((*chunks, manifest.text.dimension), np.float32),
            chunk_ages=np.ones(chunks, np.float32),
            num_chunks=num_chunks,
            recent_vectors=np.ones((size, length, manifest.context_dimension), np.float32),
            **{f"recent_{name}": tensor for name, tensor in recent.items()},
        )

    def fusion_model(self, threads: int = 1) -> OnnxModel:
        """Load the gate: both vectors and the gate features → [B, d] fusion weights."""
        d, fusion = self.manifest.dimension, self.manifest.fusion
        return self._model(
            FUSION,
            threads,
            d,
            short_vectors=np.ones((2, d), np.float32),
            long_vectors=np.ones((2, d), np.float32),
            gate_features=np.array([fusion.gate_low, fusion.gate_high], np.float32),
        )

    def interest_head(self, threads: int = 1) -> OnnxModel | None:
        """Load the interest head: vectors → [B, C] probabilities; None without categories."""
        if not self.manifest.categories:
            return None
        vectors = np.ones((1, self.manifest.dimension), np.float32)
        return self._model(INTEREST_HEAD, threads, len(self.manifest.categories), vectors=vectors)

    def item_head(self, threads: int = 1) -> OnnxModel:
        """Load the item head: text vectors and rows (−1: not in the bundle) → [B, d] vectors."""
        return self._text_head(ITEM_HEAD, threads, self.manifest.dimension)

    def context_head(self, threads: int = 1) -> OnnxModel:
        """Load the context head: as the item head, → [B, c] vectors that the profile head reads."""
        return self._text_head(CONTEXT_HEAD, threads, self.manifest.context_dimension)

    def text_encoder(self, threads: int = 1) -> "OnnxTextEncoder":
        """Load the text encoder: texts → [n, t] vectors. Needs the `tokenizers` library.

        It is loaded once for each number of threads: a service and its worker share one.
        """
        if threads not in self._text_encoders:
            self._text_encoders[threads] = self._load_text_encoder(threads)
        return self._text_encoders[threads]

    def _load_text_encoder(self, threads: int) -> "OnnxTextEncoder":
        from groundswell.artifacts.text_onnx import OnnxTextEncoder

        text = self.manifest.text
        encoder = OnnxTextEncoder(self.path / TEXT_ENCODER, text.max_tokens, threads)
        longest = encoder.encode(["a " * min(text.max_tokens, _LONG_TEXT)])
        _check(f"{TEXT_ENCODER}/model.onnx", longest, (1, text.dimension))
        return encoder

    def _text_head(self, name: str, threads: int, width: int) -> OnnxModel:
        """Load a head, and run it with the vector that each row of the bundle has of its own."""
        texts = np.ones((_HEAD_ROWS, self.manifest.text.dimension), np.float32)
        model = OnnxModel(self.path / name, threads)
        for start in range(-1, len(self.item_ids), _HEAD_ROWS):
            rows = np.arange(start, min(start + _HEAD_ROWS, len(self.item_ids)))
            output = _run(name, model, text_vectors=texts[: len(rows)], rows=rows)
            _check(name, output, (len(rows), width))
        return model

    def _model(
        self, name: str, threads: int, width: int, **sample: NDArray[np.generic]
    ) -> OnnxModel:
        """Load a model that gives [B, width] finite values of a sample of B."""
        model = OnnxModel(self.path / name, threads)
        size = len(next(iter(sample.values())))
        _check(name, _run(name, model, **sample), (size, width))
        return model


def _windows(length: int) -> dict[str, NDArray[np.generic]]:
    """Return an empty window, and full ones that have every action."""
    size = 1 + -(-NUM_ACTIONS // length)
    actions = (np.arange(size * length, dtype=np.int64) % NUM_ACTIONS).reshape(size, length)
    lengths = np.full(size, length, np.int64)
    lengths[0] = 0
    ones = np.ones((size, length), np.float32)
    return {"actions": actions, "gaps": ones, "starts": ones, "lengths": lengths}


def _run(name: str, model: OnnxModel, **sample: NDArray[np.generic]) -> NDArray[np.float32]:
    try:
        return model.run(**sample)
    except Exception as error:
        raise BundleError("BUNDLE_CORRUPT", f"{name} cannot be run: {error}") from error


def _check(name: str, output: NDArray[np.float32], due: tuple[int, int]) -> None:
    if output.shape != due or not np.isfinite(output).all():
        message = f"{name} gives shape {output.shape} where {due} of finite values is due"
        raise BundleError("BUNDLE_CORRUPT", message)


def _array(path: Path) -> NDArray[Any]:
    np.load(path, mmap_mode="r", allow_pickle=False)  # fails for a file shorter than it says
    file, mapped = open_private(path)
    with file:
        return read_array(file, mapped=mapped)


def column_of(path: Path, name: str) -> pa.ChunkedArray:
    """Read a column of exactly this file: pyarrow takes some relative paths for URIs.

    Not by `read_table`: it imports pandas where that is installed, which takes a second.
    """
    with pq.ParquetFile(path.absolute()) as file:
        return file.read(columns=[name])[0]
