"""Encoded texts on disk: each text once, whatever happened to the files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.text_cache import TextCache


class LengthEncoder:
    """Encodes a text as its length and first letter, and counts what it was asked for."""

    dimension = 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        self.asked += texts
        if progress is not None:
            progress(len(texts))
        return np.array([[len(t), ord(t[:1] or "\0")] for t in texts], np.float32).reshape(-1, 2)


def test_a_text_is_encoded_once_and_answers_keep_the_order(tmp_path: Path) -> None:
    encoder = LengthEncoder()
    cache = TextCache(tmp_path, encoder, "first")
    texts = ["bb", "a", "bb", "", "ccc"]
    expected = encoder.encode(texts)
    encoder.asked.clear()
    np.testing.assert_array_equal(cache.encode(texts), expected)
    assert encoder.asked == ["bb", "a", "", "ccc"]
    again = TextCache(tmp_path, encoder, "first")
    np.testing.assert_array_equal(again.encode(texts[::-1]), expected[::-1])
    assert again.encode(["new", "a"])[0, 0] == 3
    assert encoder.asked == ["bb", "a", "", "ccc", "new"]


def test_another_encoders_vectors_are_never_taken(tmp_path: Path) -> None:
    TextCache(tmp_path, LengthEncoder(), "first").encode(["a"])
    other = LengthEncoder()
    TextCache(tmp_path, other, "second").encode(["a"])
    assert other.asked == ["a"]


def test_a_part_that_was_cut_short_is_encoded_again(tmp_path: Path) -> None:
    encoder = LengthEncoder()
    TextCache(tmp_path, encoder, "first").encode(["a", "b"])
    (part,) = tmp_path.rglob("*.npz")
    part.write_bytes(part.read_bytes()[:100])
    healed = TextCache(tmp_path, encoder, "first")
    assert healed.encode(["b"]).tolist() == [[1, ord("b")]]
    assert encoder.asked == ["a", "b", "b"]


def test_vectors_that_are_not_finite_are_not_taken(tmp_path: Path) -> None:
    encoder = LengthEncoder()
    TextCache(tmp_path, encoder, "first").encode(["a"])
    (part,) = tmp_path.rglob("*.npz")
    with np.load(part) as stored:
        hashes, vectors = stored["hashes"], stored["vectors"]
    np.savez(part, hashes=hashes, vectors=vectors * np.nan)
    assert np.isfinite(TextCache(tmp_path, encoder, "first").encode(["a"])).all()
    assert encoder.asked == ["a", "a"]


def test_progress_counts_every_text_whether_it_was_known_or_not(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, LengthEncoder(), "first")
    cache.encode(["a"])
    told: list[int] = []
    cache.encode(["a", "b", "c"], told.append)
    assert sum(told) == 3


def test_no_texts_give_no_vectors(tmp_path: Path) -> None:
    assert TextCache(tmp_path, LengthEncoder(), "first").encode([]).shape == (0, 2)


def test_a_cache_that_keeps_nothing_knows_what_another_kept_and_adds_nothing(
    tmp_path: Path,
) -> None:
    TextCache(tmp_path, LengthEncoder(), "first").encode(["a"])
    before = sorted(tmp_path.rglob("*"))
    encoder = LengthEncoder()
    reader = TextCache(tmp_path, encoder, "first", keep=False)
    expected = LengthEncoder().encode(["a", "bb"])
    assert (reader.encode(["a", "bb"]) == expected).all()
    assert (reader.encode(["bb"]) == expected[1:]).all()
    assert encoder.asked == ["bb", "bb"]
    assert sorted(tmp_path.rglob("*")) == before
