"""Spoils copies of a bundle in seeded ways: as disks and tools do, and as an attacker would."""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from groundswell.artifacts.pointer import MANIFEST, bundle_id_of
from groundswell.artifacts.store import load_bundle
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.settings import RankerSettings
from tests.support.spoiled_content import (
    ANOTHER_MANIFEST,
    BEHIND_A_SEAL,
    Spoil,
    edit_manifest,
    exchange,
    write,
)

_UNTOUCHED = ("text_encoder/model.onnx", "text_encoder/model.safetensors")
"""The large files, which are not spoiled behind a seal."""


class Spoiled(NamedTuple):
    """A bundle that must be refused."""

    path: Path
    kind: str
    """What was done to it."""


def spoiled(bundle: Path, root: Path, seed: int) -> Spoiled:
    """Put a spoiled copy of a bundle into a folder of bundles; the same seed does the same.

    Seeds in a row spoil in all kinds of ways. The bundle has neighbours and canary queries. The
    files of the copy are links, but for what is changed.
    """
    rng = random.Random(seed)
    folder = root / f".spoiling-{seed}"
    shutil.copytree(bundle, folder, copy_function=os.link)
    # With a manifest of its own it has an id of its own.
    edit_manifest(folder, lambda manifest: manifest["training"].update(spoiled=seed))
    bundle_id = bundle_id_of((folder / MANIFEST).read_bytes())
    kind, spoil = _ALL[seed % NUM_KINDS]
    what = spoil(folder, rng)
    if (kind, spoil) in BEHIND_A_SEAL:
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


def _seal(folder: Path) -> None:
    """Let the manifest list the files as they are."""

    def entries(manifest: dict[str, Any]) -> None:
        for name, entry in manifest["files"].items():
            if name not in _UNTOUCHED:
                content = (folder / name).read_bytes()
                entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    edit_manifest(folder, entries)


def _any_file(folder: Path, rng: random.Random) -> Path:
    names: list[str] = sorted(json.loads((folder / MANIFEST).read_text())["files"])
    return folder / rng.choice(names)


# What is done without a change of the manifest.


def _flip(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    write(path, bytes(content))
    return path.name


def _cut(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    content = path.read_bytes()
    write(path, content[: rng.choice((0, rng.randrange(len(content))))])
    return path.name


def _lengthen(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    write(path, path.read_bytes() + rng.randbytes(rng.randrange(1, 100)))
    return path.name


def _remove(folder: Path, rng: random.Random) -> str:
    path = _any_file(folder, rng)
    path.unlink()
    return path.name


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
    write(folder / MANIFEST, bytes(content[:cut]))
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


_UNSEALED: tuple[tuple[str, Spoil], ...] = (
    ("flipped", _flip),
    ("cut", _cut),
    ("lengthened", _lengthen),
    ("removed", _remove),
    ("exchanged", exchange),
    ("added", _add),
    ("manifest changed", _change_manifest),
    ("led out", _lead_out),
    ("no file", _no_file),
)
_ALL = (*_UNSEALED, *BEHIND_A_SEAL, *ANOTHER_MANIFEST)
NUM_KINDS = len(_ALL)
