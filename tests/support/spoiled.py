"""Spoils copies of a bundle in seeded ways: as disks and tools do, and as an attacker would."""

import hashlib
import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import onnx
import polars as pl
from onnx import numpy_helper

from groundswell.artifacts import bundle as files
from groundswell.artifacts.pointer import MANIFEST, bundle_id_of
from groundswell.artifacts.store import load_bundle
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.settings import RankerSettings

_MODELS = (
    files.SESSION,
    files.FUSION,
    files.INTEREST_HEAD,
    files.PROFILE_HEAD,
    files.ITEM_HEAD,
    files.CONTEXT_HEAD,
)
_ARRAYS = (files.ITEM_VECTORS, *files.NEIGHBOURS)
_TABLES = (files.ITEMS, files.POPULARITY)
_READ = (*_MODELS, *_ARRAYS, *_TABLES, files.INDEX, "text_encoder/tokenizer.json")
"""The files that every server's start reads; of the text encoder only the small one."""
_UNTOUCHED = ("text_encoder/model.onnx", "text_encoder/model.safetensors")
"""The large files, which are not spoiled behind a seal."""

_HUGE = 2**40
_LARGE = 2**31


class Spoiled(NamedTuple):
    """A bundle that must be refused."""

    path: Path
    kind: str
    """What was done to it."""


def spoiled(bundle: Path, root: Path, seed: int) -> Spoiled:
    """Put a spoiled copy of a bundle into a folder of bundles; the same seed does the same.

    Seeds in a row spoil in all kinds of ways. The bundle has neighbours. The files of the copy are
    links, but for what is changed.
    """
    rng = random.Random(seed)
    folder = root / f".spoiling-{seed}"
    shutil.copytree(bundle, folder, copy_function=os.link)
    # With a manifest of its own it has an id of its own.
    _edit_manifest(folder, lambda manifest: manifest["training"].update(spoiled=seed))
    bundle_id = bundle_id_of((folder / MANIFEST).read_bytes())
    kind, spoil = _ALL[seed % NUM_KINDS]
    what = spoil(folder, rng)
    if (kind, spoil) in _BEHIND_A_SEAL:
        _seal(folder)
    if (kind, spoil) not in _UNSEALED:
        bundle_id = bundle_id_of((folder / MANIFEST).read_bytes())
    return Spoiled(folder.rename(root / bundle_id), f"{kind} {what}")


async def open_as_servers_do(path: Path, settings: RankerSettings) -> None:
    """Load all that one of the services loads. Raises BundleError."""
    bundle = load_bundle(path)
    bundle.session_model()
    for load in (bundle.item_head, bundle.context_head, bundle.profile_head, bundle.text_encoder):
        load()
    ranker = BundleRanker(bundle, settings)
    try:
        await ranker.warm_up()
    finally:
        await ranker.close()


def _write(path: Path, content: bytes) -> None:
    """Write a file of a copy, and not the file that it is a link to."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    edit(manifest)
    _write(folder / MANIFEST, json.dumps(manifest).encode())


def _seal(folder: Path) -> None:
    """Let the manifest list the files as they are."""

    def entries(manifest: dict[str, Any]) -> None:
        for name, entry in manifest["files"].items():
            if name not in _UNTOUCHED:
                content = (folder / name).read_bytes()
                entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    _edit_manifest(folder, entries)


def _any_file(folder: Path, rng: random.Random) -> Path:
    names: list[str] = sorted(json.loads((folder / MANIFEST).read_text())["files"])
    return folder / rng.choice(names)


# What is done without a change of the manifest.


def _flip(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    _write(path, bytes(content))
    return path.name


def _cut(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    content = path.read_bytes()
    _write(path, content[: rng.choice((0, rng.randrange(len(content))))])
    return path.name


def _lengthen(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    _write(path, path.read_bytes() + rng.randbytes(rng.randrange(1, 100)))
    return path.name


def _remove(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    path.unlink()
    return path.name


def _exchange(folder: Path, rng: random.Random) -> str:
    one, other = (folder / name for name in rng.sample(_READ, 2))
    keep = folder / ".keep"
    one.rename(keep)
    other.rename(one)
    keep.rename(other)
    return f"{one.name} and {other.name}"


def _add(folder: Path, rng: random.Random) -> str:
    name = rng.choice(("weights.pkl", "text_encoder/modeling.py", "session.onnx.data", "x/y/z"))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"cos\nsystem\n")
    return name


def _change_manifest(folder: Path, rng: random.Random) -> str:
    content = bytearray((folder / MANIFEST).read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(7)
    cut = rng.choice((len(content), rng.randrange(len(content))))
    _write(folder / MANIFEST, bytes(content[:cut]))
    return f"at {place} of {cut}"


def _lead_out(folder: Path, rng: random.Random) -> str:
    """Replace a file by a link to the same content outside of the folder, or to a device."""
    path = _any_file(folder, rng)
    outside = folder.parent / ".outside" / path.name
    outside.parent.mkdir(exist_ok=True)
    if not outside.exists():
        shutil.copy(path, outside)
    path.unlink()
    path.symlink_to(rng.choice((outside, Path("/dev/zero"))))
    return path.name


def _no_file(folder: Path, rng: random.Random) -> str:
    """Put a pipe, whose reader would wait for ever, or a folder in the place of a file."""
    path = _any_file(folder, rng)
    path.unlink()
    rng.choice((os.mkfifo, os.mkdir))(path)
    return path.name


# What is done before the manifest gets the right hashes.


def _no_number(folder: Path, rng: random.Random) -> str:
    """Put a value that is no number among the weights of a model."""
    name = rng.choice(_MODELS)
    model = onnx.load(folder / name)
    tensors = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    tensor = rng.choice([t for t in tensors if len(t.dims)])
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[rng.randrange(values.size)] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    _write(folder / name, model.SerializeToString())
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
    _write(folder / name, model.SerializeToString())
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
        _write(path, bytes(content))
        return "head"
    others = (vectors[::-1], vectors[:-1], vectors[:, :-1], -vectors)[way - 1]
    index = faiss.IndexFlatIP(others.shape[1])
    index.add(np.ascontiguousarray(others))
    path.unlink()
    faiss.write_index(index, str(path))
    return str(way)


def _noise(folder: Path, rng: random.Random) -> str:
    """Keep the beginning of a file, and replace the rest."""
    path = folder / rng.choice(_READ)
    content = path.read_bytes()
    kept = rng.choice((0, 4, len(content) // 2))
    _write(path, content[:kept] + rng.randbytes(min(len(content) - kept, 1 << 16)))
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


def _wrong_manifest(folder: Path, rng: random.Random) -> str:
    name, edit = rng.choice(_EDITS)
    _edit_manifest(folder, edit)
    return name


def _no_manifest(folder: Path, rng: random.Random) -> str:
    """Write a manifest that is something else; its folder is named by its hash."""
    content = rng.choice((b"", b"{}", b"[]", b"null", b"{" * 100_000, rng.randbytes(1_000)))
    _write(folder / MANIFEST, content)
    return str(len(content))


_Spoil = Callable[[Path, random.Random], str]

_UNSEALED: tuple[tuple[str, _Spoil], ...] = (
    ("flipped", _flip),
    ("cut", _cut),
    ("lengthened", _lengthen),
    ("removed", _remove),
    ("exchanged", _exchange),
    ("added", _add),
    ("manifest changed", _change_manifest),
    ("led out", _lead_out),
    ("no file", _no_file),
)
_BEHIND_A_SEAL: tuple[tuple[str, _Spoil], ...] = (
    ("no number", _no_number),
    ("huge tensor", _huge_tensor),
    ("other array", _other_array),
    ("huge array", _huge_array),
    ("pickled", _pickled),
    ("other table", _other_table),
    ("other index", _other_index),
    ("noise", _noise),
    ("exchanged behind a seal", _exchange),
)
_ANOTHER_MANIFEST: tuple[tuple[str, _Spoil], ...] = (
    ("wrong manifest", _wrong_manifest),
    ("no manifest", _no_manifest),
)
_ALL = (*_UNSEALED, *_BEHIND_A_SEAL, *_ANOTHER_MANIFEST)
NUM_KINDS = len(_ALL)
