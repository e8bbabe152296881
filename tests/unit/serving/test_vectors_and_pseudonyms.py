"""Vectors as bytes, numbers as bytes, users as keyed hashes."""

import hashlib
import hmac

import numpy as np
import pytest

from groundswell.common.v1 import item_pb2
from groundswell.serving import vectors
from groundswell.serving.errors import FailedPrecondition, InvalidArgument
from groundswell.serving.pseudonym import Pseudonymizer


def test_a_vector_comes_back_as_it_was_sent() -> None:
    values = np.array([1.5, -2.0, 0.0, 3e-20], np.float32)
    message = vectors.vector_to_proto(values, "b")
    assert message.values == values.astype("<f4").tobytes()
    back = vectors.vector_from_proto(message, 4, "b")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize(
    "message",
    [
        item_pb2.Vector(values=b"\0" * 12, dimension=3, bundle_id="b"),
        item_pb2.Vector(values=b"\0" * 15, dimension=4, bundle_id="b"),
        item_pb2.Vector(values=b"", dimension=4, bundle_id="b"),
        item_pb2.Vector(
            values=np.array([0, np.nan, 0, 0], "<f4").tobytes(), dimension=4, bundle_id="b"
        ),
        item_pb2.Vector(
            values=np.array([0, 0, 0, np.inf], "<f4").tobytes(), dimension=4, bundle_id="b"
        ),
    ],
    ids=["dimension", "length", "empty", "nan", "infinite"],
)
def test_a_vector_of_another_form_is_refused(message: item_pb2.Vector) -> None:
    with pytest.raises(InvalidArgument) as caught:
        vectors.vector_from_proto(message, 4, "b")
    assert caught.value.reason == "VECTOR_INVALID"


def test_a_vector_of_another_bundle_is_refused() -> None:
    message = vectors.vector_to_proto(np.zeros(4, np.float32), "old")
    with pytest.raises(FailedPrecondition, match="'old', not 'new'"):
        vectors.vector_from_proto(message, 4, "new")


def test_a_vector_that_is_not_finite_does_not_leave() -> None:
    with pytest.raises(ValueError, match="not finite"):
        vectors.vector_to_proto(np.array([0.0, np.nan]), "b")


def test_numbers_come_back_as_they_were_packed() -> None:
    numbers = [0, 1, -5, 2**62]
    assert vectors.unpack_int64(vectors.pack_int64(numbers)).tolist() == numbers
    masks = np.array([0, 1, 2**32 - 1], np.uint32)
    assert vectors.unpack_uint32(vectors.pack_uint32(masks)).tolist() == masks.tolist()
    assert vectors.pack_int64([1]) == b"\1" + b"\0" * 7
    assert vectors.unpack_int64(b"").size == 0


def test_bytes_that_are_no_whole_numbers_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="9 bytes"):
        vectors.unpack_int64(b"\0" * 9)
    with pytest.raises(InvalidArgument, match="3 bytes"):
        vectors.unpack_uint32(b"\0" * 3)


def test_a_users_key_is_the_keyed_hash_of_the_id() -> None:
    key = Pseudonymizer("a secret").user_key("änna")
    expected = hmac.new(b"a secret", b"user\0" + "änna".encode(), hashlib.sha256).digest()
    assert key == expected


def test_another_secret_or_another_user_gives_another_key() -> None:
    pseudonymizer = Pseudonymizer("a secret")
    keys = {pseudonymizer.user_key("anna"), pseudonymizer.user_key("anna ")}
    keys.add(Pseudonymizer("b secret").user_key("anna"))
    assert len(keys) == 3
    assert pseudonymizer.user_key("anna") in keys


def test_a_newer_secret_makes_its_key_of_the_key_before() -> None:
    keys = Pseudonymizer("old", "new", "newest").user_keys("anna")
    assert keys[0] == Pseudonymizer("old").user_key("anna")
    assert keys[1] == hmac.digest(b"new", keys[0], "sha256")
    assert keys[2] == hmac.digest(b"newest", keys[1], "sha256")
    assert Pseudonymizer("old", "new", "newest").user_key("anna") == keys[2]


def test_a_stored_key_becomes_a_later_one_without_the_id() -> None:
    pseudonymizer = Pseudonymizer("old", "new", "newest")
    keys = pseudonymizer.user_keys("anna")
    for version in (1, 2, 3):
        for wanted in range(version, 4):
            key = pseudonymizer.newer_key(keys[version - 1], version, wanted)
            assert key == keys[wanted - 1]


def test_a_check_tells_secrets_apart_and_is_no_users_key() -> None:
    old, new = Pseudonymizer("old", "new").checks
    assert Pseudonymizer("old").checks == (old,)
    assert old != new
    assert bytes.fromhex(old) != Pseudonymizer("old").user_key("groundswell secret check")
