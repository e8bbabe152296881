"""Keeps the vectors of an index in a collection of Milvus, and searches it while Milvus answers."""

import hashlib
import logging
import threading
import time
import weakref
from contextlib import suppress
from uuid import uuid4

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from groundswell.retrieval.directions import directions
from groundswell.retrieval.engine import MilvusAddress

_log = logging.getLogger(__name__)

VECTOR, DIRECTION = "vector", "direction"
"""The fields of a collection: a vector, and the same of length 1 without its last dimension."""
MOST_FOUND = 16_384
"""The most items that Milvus returns for one query."""
_POSITION = "position"
_LINKS, _BUILD_DEPTH, _SEARCH_DEPTH = 32, 200, 256
_BATCH_BYTES = 2 * 1024 * 1024
_CONNECT_TIMEOUT_S, _FILL_TIMEOUT_S = 3.0, 120.0
SEARCH_TIMEOUT_S = 0.25
"""With the time of the other services it must fit into that of a call."""
_AGAIN_S = 1.0
_CHECK_S = 30.0
_EXIT_S = 1.0
_DROP_FOR_S = 600.0
_FAILURES = (MilvusException, grpc.RpcError, ValueError)
"""Errors that a call of the client raises: gRPC's own while Milvus hangs, ValueError over a channel
that is closed."""
_NAME_DIGITS = 32


class MilvusVectors:
    """Vectors [n, d] in a collection of their own, by position. Thread-safe.

    Whoever finds other rows in the collection mends it; several may at once, since they write the
    same. A thread counts the rows now and then. A call that Milvus does not answer in time, or not
    with these rows, takes it for down: until the thread has it whole again, no search asks it.
    """

    def __init__(
        self,
        address: MilvusAddress,
        vectors: NDArray[np.float32],
        *,
        shared: bool,
        timeout_s: float = SEARCH_TIMEOUT_S,
    ) -> None:
        """Look for the collection, and fill it if Milvus is there. Blocks for that time.

        `shared`: all processes with these vectors use one collection, which stays when they end;
        else it is dropped with this object.
        """
        self._address, self._vectors, self._timeout_s = address, vectors, timeout_s
        digest = hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()[:_NAME_DIGITS]
        self.name = f"groundswell_{digest}" + ("" if shared else f"_{uuid4().hex[:8]}")
        self.num_fallbacks = 0
        """The number of queries that it did not answer; the caller counts them."""
        self._changing = threading.Lock()
        self._client: MilvusClient | None = None
        """None while it is taken for down."""
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each error with a trace
        try:
            self._client = _prepared(address, self.name, vectors)
        except _FAILURES as error:
            self._failed(None, error)
        threading.Thread(target=_look_after, args=(weakref.ref(self),), daemon=True).start()
        if not shared:
            weakref.finalize(self, _drop, address, self.name)

    @property
    def is_up(self) -> bool:
        """Whether the next search asks Milvus."""
        return self._client is not None

    def search(
        self, field: str, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Return scores [B, k] and positions [B, k] of largest inner product, -1 behind the last.

        None without an answer in time.
        """
        client = self._client
        if client is None:
            return None
        try:
            found = client.search(
                self.name,
                data=list(queries),
                anns_field=field,
                limit=k,
                output_fields=[_POSITION],
                search_params={"metric_type": "IP", "params": {"ef": max(_SEARCH_DEPTH, 2 * k)}},
                consistency_level="Eventually",  # a collection that is whole does not change
                timeout=self._timeout_s,
            )
        except _FAILURES as error:
            self._failed(client, error)
            return None
        scores = np.full((len(queries), k), -np.inf, np.float32)
        positions = np.full((len(queries), k), -1, np.int64)
        for row, hits in enumerate(found):
            scores[row, : len(hits)] = [hit["distance"] for hit in hits]
            positions[row, : len(hits)] = [hit[_POSITION] for hit in hits]
        if positions.min(initial=-1) < -1 or positions.max(initial=-1) >= len(self._vectors):
            self._failed(client, _not_whole())
            return None
        return scores, positions

    def _failed(self, client: MilvusClient | None, error: Exception) -> None:
        """Take Milvus for down."""
        with self._changing:
            if self._client is not client:
                return  # another thread has noticed before
            self._client = None
        _log.warning("milvus_down collection=%s error=%s", self.name, type(error).__name__)

    def _look(self) -> None:
        """Look whether Milvus is there again, with a collection that is whole."""
        with suppress(*_FAILURES):
            self._client = _prepared(self._address, self.name, self._vectors)
            _log.warning("milvus_back collection=%s", self.name)

    def _check(self, client: MilvusClient) -> None:
        """Take Milvus for down unless the collection has as many rows as it should."""
        try:
            if _num_rows(client, self.name) != len(self._vectors):
                raise _not_whole()
        except _FAILURES as error:
            self._failed(client, error)


def _look_after(vectors: "weakref.ref[MilvusVectors]") -> None:
    """Look for Milvus while it is down, and count its rows while it is up; end with the object."""
    checked = time.monotonic()
    while (one := vectors()) is not None:
        client = one._client
        if client is None:
            one._look()
            checked = time.monotonic()
        elif time.monotonic() - checked >= _CHECK_S:
            one._check(client)
            checked = time.monotonic()
        del one
        time.sleep(_AGAIN_S)


def _connected(address: MilvusAddress) -> MilvusClient:
    return MilvusClient(uri=address.uri, token=address.token, timeout=_CONNECT_TIMEOUT_S)


def _drop(address: MilvusAddress, name: str) -> None:
    """Drop a collection in the background; only a process that ends waits for it, and not long."""
    dropping = threading.Thread(target=_drop_now, args=(address, name), daemon=True)
    dropping.start()
    if not threading.main_thread().is_alive():
        dropping.join(_EXIT_S)


def _drop_now(address: MilvusAddress, name: str) -> None:
    """Drop a collection as soon as Milvus does it, or give up after `_DROP_FOR_S`."""
    end = time.monotonic() + _DROP_FOR_S
    while time.monotonic() < end:
        with suppress(*_FAILURES):
            _connected(address).drop_collection(name, timeout=_FILL_TIMEOUT_S)
            return
        time.sleep(_AGAIN_S)
    _log.warning("milvus_collection_left collection=%s", name)


def _not_whole() -> MilvusException:
    return MilvusException(message="the collection has other rows")


def _prepared(address: MilvusAddress, name: str, vectors: NDArray[np.float32]) -> MilvusClient:
    """Return a client of a collection that is whole and loaded. Raises one of _FAILURES."""
    client = _connected(address)
    if not client.has_collection(name, timeout=_CONNECT_TIMEOUT_S):
        _create(client, name, vectors.shape[1])
    client.load_collection(name, timeout=_FILL_TIMEOUT_S)
    others = f"{_POSITION} < 0 or {_POSITION} >= {len(vectors)}"
    if _num_rows(client, name, others):
        client.delete(name, filter=others, timeout=_FILL_TIMEOUT_S)
    if _num_rows(client, name) != len(vectors):
        _fill(client, name, vectors)
        if _num_rows(client, name) != len(vectors):
            raise _not_whole()
    return client


def _create(client: MilvusClient, name: str, dimension: int) -> None:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field(_POSITION, DataType.INT64, is_primary=True)
    indexes = MilvusClient.prepare_index_params()
    for field in (VECTOR, DIRECTION):
        schema.add_field(field, DataType.FLOAT_VECTOR, dim=dimension)
        indexes.add_index(
            field,
            index_type="HNSW",
            metric_type="IP",
            params={"M": _LINKS, "efConstruction": _BUILD_DEPTH},
        )
    client.create_collection(name, schema=schema, index_params=indexes, timeout=_FILL_TIMEOUT_S)


def _num_rows(client: MilvusClient, name: str, condition: str = "") -> int:
    found = client.query(
        name,
        filter=condition,
        output_fields=["count(*)"],
        consistency_level="Strong",
        timeout=_FILL_TIMEOUT_S,
    )
    return int(found[0]["count(*)"])


def _fill(client: MilvusClient, name: str, vectors: NDArray[np.float32]) -> None:
    at_once = max(_BATCH_BYTES // (2 * vectors[:1].nbytes), 1)
    for start in range(0, len(vectors), at_once):
        some = np.array(vectors[start : start + at_once])
        rows = [
            {_POSITION: start + n, VECTOR: vector, DIRECTION: direction}
            for n, (vector, direction) in enumerate(zip(some, directions(some), strict=True))
        ]
        client.upsert(name, rows, timeout=_FILL_TIMEOUT_S)
    client.flush(name, timeout=_FILL_TIMEOUT_S)
