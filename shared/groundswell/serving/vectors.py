"""Vectors and lists of numbers as they travel in messages: little-endian bytes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from groundswell.common.v1 import item_pb2
from groundswell.serving.errors import FailedPrecondition, InvalidArgument

_FLOAT32 = np.dtype("<f4")
_INT64 = np.dtype("<i8")
_UINT32 = np.dtype("<u4")


def vector_to_proto(values: npt.NDArray[np.floating], bundle_id: str) -> item_pb2.Vector:
    """A message of a vector [d]. Raises ValueError when a value is not finite."""
    if not np.isfinite(values).all():
        raise ValueError("a vector with a value that is not finite must not leave the process")
    return item_pb2.Vector(
        values=values.astype(_FLOAT32, copy=False).tobytes(),
        dimension=len(values),
        bundle_id=bundle_id,
    )


def vector_from_proto(
    vector: item_pb2.Vector, dimension: int, bundle_id: str
) -> npt.NDArray[np.float32]:
    """The vector float32[dimension] of a message.

    Raises InvalidArgument (VECTOR_INVALID) for another length or dimension or a value that is not
    finite, and FailedPrecondition (BUNDLE_MISMATCH) for a vector of another bundle.
    """
    if vector.bundle_id != bundle_id:
        raise FailedPrecondition(
            "BUNDLE_MISMATCH", f"the vector is of bundle {vector.bundle_id!r}, not {bundle_id!r}"
        )
    if vector.dimension != dimension or len(vector.values) != dimension * _FLOAT32.itemsize:
        raise InvalidArgument(
            "VECTOR_INVALID",
            f"a vector of {dimension} float32 values is needed; this one says {vector.dimension} "
            f"and has {len(vector.values)} bytes",
            field="vector.values",
        )
    values = np.frombuffer(vector.values, _FLOAT32).astype(np.float32)
    if not np.isfinite(values).all():
        raise InvalidArgument(
            "VECTOR_INVALID", "the vector has a value that is not finite", field="vector.values"
        )
    return values


def pack_int64(values: npt.NDArray[np.int64] | Sequence[int]) -> bytes:
    """Numbers as little-endian int64."""
    return np.asarray(values, _INT64).tobytes()


def unpack_int64(packed: bytes) -> npt.NDArray[np.int64]:
    """Numbers from little-endian int64. Raises InvalidArgument (PACKED_INVALID)."""
    return _unpack(packed, _INT64).astype(np.int64)


def pack_uint32(values: npt.NDArray[np.uint32] | Sequence[int]) -> bytes:
    """Numbers as little-endian uint32."""
    return np.asarray(values, _UINT32).tobytes()


def unpack_uint32(packed: bytes) -> npt.NDArray[np.uint32]:
    """Numbers from little-endian uint32. Raises InvalidArgument (PACKED_INVALID)."""
    return _unpack(packed, _UINT32).astype(np.uint32)


def _unpack(packed: bytes, dtype: "np.dtype[np.generic]") -> npt.NDArray[np.generic]:
    if len(packed) % dtype.itemsize:
        raise InvalidArgument(
            "PACKED_INVALID", f"{len(packed)} bytes are no whole number of {dtype.name} values"
        )
    return np.frombuffer(packed, dtype)
