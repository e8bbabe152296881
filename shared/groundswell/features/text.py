"""Items and chunks of events → the texts that the text encoder reads, and the hash of a text."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

TEMPLATE_VERSION = 1
"""Part of the encoder's fingerprint: raise it whenever a function below writes another text."""

_CHUNK_TITLE_CHARACTERS = 60
"""Titles are cut to this in a chunk, so that 16 of them fit 256 tokens."""


def item_text(title: str, categories: Sequence[str], description: str = "") -> str:
    """Write one item as text: title, categories, description, each where there is one."""
    parts = [_squeeze(title), ", ".join(_squeeze(c) for c in categories), _squeeze(description)]
    return ". ".join(part for part in parts if part)


def chunk_text(titles: Sequence[str]) -> str:
    """Write one full chunk of events as text: the items' titles, oldest event first."""
    return "; ".join(map(_chunk_title, titles))


def content_hash(text: str, fingerprint: str) -> bytes:
    """Name an encoded text: 32 bytes, SHA-256 of the encoder's fingerprint and the text."""
    return hashlib.sha256(f"{fingerprint}\0{text}".encode("utf-8", "surrogatepass")).digest()


@lru_cache(maxsize=4_096)
def _chunk_title(title: str) -> str:
    return _squeeze(title)[:_CHUNK_TITLE_CHARACTERS]


def _squeeze(text: str) -> str:
    return " ".join(text.split())
