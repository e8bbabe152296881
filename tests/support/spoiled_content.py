"""Spoils the content of a bundle, to be hidden behind a manifest with the right hashes."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnx
import polars as pl
from onnx import numpy_helper

from groundswell.artifacts import bundle as files
from groundswell.artifacts.pointer import MANIFEST

Spoil = Callable[[Path, random.Random], str]
"""Changes a folder, and says what it did."""

_MODELS = (
    files.SESSION,
    files.FUSION,
    files.INTEREST_HEAD,
    files.PROFILE_HEAD,
    files.ITEM_HEAD,
    files.CONTEXT_HEAD,
)
_ARRAYS = (files.ITEM_VECTORS, *files.NEIGHBOURS)
_TABLES = (files.ITEMS, files.POPULARITY, files.CANARY)
READ = (*_MODELS, *_ARRAYS, *_TABLES, files.INDEX, "text_encoder/tokenizer.json")
"""The files that every server's start reads; of the text encoder only the small one."""
_HUGE = 2**40
_LARGE = 2**31


def write(path: Path, content: bytes) -> None:
    """Write a file of a copy, and not the file that it is a link to."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    edit(manifest)
    write(folder / MANIFEST, json.dumps(manifest).encode())


def exchange(folder: Path, rng: random.Random) -> str:
    one, other = (folder / name for name in rng.sample(READ, 2))
    keep = folder / ".keep"
    one.rename(keep)
    other.rename(one)
    keep.rename(other)
    return f"{one.name} and {other.name}"


def _no_number(folder: Path, rng: random.Random) -> str:
    """Put a value that is no number among the weights of a model."""
    name = rng.choice(_MODELS)
    model = onnx.load(folder / name)
    tensors = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    tensor = rng.choice([t for t in tensors if len(t.dims)])
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[rng.randrange(values.size)] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    write(folder / name, model.SerializeToString())
    return f"{name} {tensor.name}"


def _huge_tensor(folder: Path, rng: random.Random) -> str:
    """Let a tensor claim more values than there are, or lie in another file."""
    name = rng.choice(_MODELS)
    model = onnx.load(folder / name)
    tensor = rng.choice([t for t in model.graph.initializer if len(t.dims)])
    if rng.random() < 0.5:
        tensor.dims[0] = rng.choice((_HUGE, _LARGE, tensor.dims[0] + 1))
    else:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = rng.choice(("/etc/hosts", "../../../../../../etc/hosts", "/dev/zero"))
        tensor.external_data.add(key="location", value=place)
    write(folder / name, model.SerializeToString())
    return f"{name} {tensor.name}"


def _other_array(folder: Path, rng: random.Random) -> str:
    """Give an array another shape, kind or wrong values."""
    name = rng.choice(_ARRAYS)
    array = np.load(folder / name)
    bad = np.nan if array.dtype.kind == "f" else len(array)
    wrong = array.copy()
    wrong[rng.randrange(len(wrong)), rng.randrange(wrong.shape[1])] = bad
    way = rng.randrange(5)
    changed = (array[:-1], array[:, :-1], array.astype(np.float64), array[..., None], wrong)[way]
    path = folder / name
    path.unlink()
    np.save(path, changed)
    return f"{name} {way}"


def _huge_array(folder: Path, rng: random.Random) -> str:
    """Let the head of an array claim very many rows."""
    name, rows = rng.choice(_ARRAYS), rng.choice((_HUGE, _LARGE, 2**62, 2**64, -1))
    array = np.load(folder / name)
    path = folder / name
    path.unlink()
    with path.open("wb") as file:
        head = {"descr": array.dtype.str, "fortran_order": False, "shape": (rows, array.shape[1])}
        np.lib.format.write_array_header_1_0(file, head)
        file.write(array.tobytes())
    return f"{name} {rows}"


def _pickled(folder: Path, rng: random.Random) -> str:
    name = rng.choice(_ARRAYS)
    (folder / name).unlink()
    np.save(folder / name, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return name


def _other_table(folder: Path, rng: random.Random) -> str:
    """Change the rows or the columns of a table."""
    name = rng.choice(_TABLES)
    table, way = pl.read_parquet(folder / name), rng.randrange(4)
    column = table.columns[-1]
    changed = (
        table[:-1],
        pl.concat([table, table[:1]]),
        table.rename({column: "other"}),
        table.with_columns(pl.lit(None).alias(column)),
    )[way]
    (folder / name).unlink()
    changed.write_parquet(folder / name)
    return f"{name} {way}"


def _other_index(folder: Path, rng: random.Random) -> str:
    """Index other vectors, or another number or width of them, or claim very many."""
    vectors, way = np.load(folder / files.ITEM_VECTORS), rng.randrange(5)
    path = folder / files.INDEX
    if way == 0:
        content = bytearray(path.read_bytes())
        struct.pack_into("<q", content, 8, rng.choice((_HUGE, _LARGE)))
        struct.pack_into("<Q", content, 37, rng.choice((_HUGE, _LARGE, len(vectors) * 64)))
        write(path, bytes(content))
        return "head"
    others = (vectors[::-1], vectors[:-1], vectors[:, :-1], -vectors)[way - 1]
    index = faiss.IndexFlatIP(others.shape[1])
    index.add(np.ascontiguousarray(others))
    path.unlink()
    faiss.write_index(index, str(path))
    return str(way)


def _noise(folder: Path, rng: random.Random) -> str:
    """Keep the beginning of a file, and replace the rest."""
    path = folder / rng.choice(READ)
    content = path.read_bytes()
    kept = rng.choice((0, 4, len(content) // 2))
    write(path, content[:kept] + rng.randbytes(min(len(content) - kept, 1 << 16)))
    return path.name


_EDITS: tuple[tuple[str, Callable[[dict[str, Any]], object]], ...] = (
    ("dimension", lambda m: m.update(dimension=m["dimension"] + 1)),
    ("dimension", lambda m: m.update(dimension=m["dimension"] - 1)),
    ("dimension", lambda m: m.update(dimension=_LARGE)),
    ("dimension", lambda m: m.update(dimension=-1)),
    ("context", lambda m: m.update(context_dimension=m["context_dimension"] + 1)),
    ("context", lambda m: m.update(context_dimension=_LARGE)),
    ("chunks", lambda m: m.update(max_chunks=_HUGE)),
    ("text", lambda m: m["text"].update(dimension=m["text"]["dimension"] * 2)),
    ("text", lambda m: m["text"].update(max_tokens=100_000)),
    ("categories", lambda m: m.update(categories=[*m["categories"], "more"])),
    ("categories", lambda m: m.update(categories=m["categories"][:-1])),
    ("format", lambda m: m.update(format_version=99)),
    ("alpha", lambda m: m["fusion"].update(constant_alpha=1.5)),
    ("alpha", lambda m: m["fusion"].update(constant_alpha=float("nan"))),
    ("gate", lambda m: m["fusion"].update(gate_low=[0.0])),
    ("neighbours", lambda m: m["neighbours"].update(count=m["neighbours"]["count"] + 1)),
    ("neighbours", lambda m: m.update(neighbours=None)),
    ("window", lambda m: m.update(window_length=0)),
    ("window", lambda m: m.update(window_length="many")),
    ("lacks", lambda m: m.pop("text")),
    ("unknown", lambda m: m.update(exec="import os")),
    ("index", lambda m: m.update(index_kind="other")),
    ("index", lambda m: m.update(index_kind="hnsw")),
    ("index", lambda m: m.update(index_kind="ivf")),
    ("files", lambda m: m["files"].pop("session.onnx")),
    ("files", lambda m: m["files"].update({"../x": m["files"]["session.onnx"]})),
    ("files", lambda m: m["files"].update({"/etc/passwd": m["files"]["session.onnx"]})),
    ("files", lambda m: m["files"]["session.onnx"].update(size=_HUGE)),
    ("files", lambda m: m["files"]["session.onnx"].update(sha256="0" * 64)),
)


def wrong_manifest(folder: Path, rng: random.Random) -> str:
    name, edit = rng.choice(_EDITS)
    edit_manifest(folder, edit)
    return name


def no_manifest(folder: Path, rng: random.Random) -> str:
    """Write a manifest that is something else; its folder is named by its hash."""
    content = rng.choice((b"", b"{}", b"[]", b"null", b"{" * 100_000, rng.randbytes(1_000)))
    write(folder / MANIFEST, content)
    return str(len(content))


BEHIND_A_SEAL: tuple[tuple[str, Spoil], ...] = (
    ("no number", _no_number),
    ("huge tensor", _huge_tensor),
    ("other array", _other_array),
    ("huge array", _huge_array),
    ("pickled", _pickled),
    ("other table", _other_table),
    ("other index", _other_index),
    ("noise", _noise),
    ("exchanged behind a seal", exchange),
)
ANOTHER_MANIFEST: tuple[tuple[str, Spoil], ...] = (
    ("wrong manifest", wrong_manifest),
    ("no manifest", no_manifest),
)
