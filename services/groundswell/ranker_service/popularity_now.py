"""Follows how popular items are now, and tells it to the rankers of all bundles."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from math import inf

import grpc
import numpy as np
import structlog
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from groundswell.features.popularity_values import NEVER, relative, strongest
from groundswell.profile.v1.outcome_service_pb2 import (
    WatchPopularityRequest,
    WatchPopularityResponse,
)
from groundswell.profile.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from groundswell.retrieval.neighbours import NOTHING, Sparse
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.errors import InvalidArgument, ServiceError
from groundswell.serving.vectors import unpack_int64

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _LAST_DELAY_S = 0.1, 5.0
_LEAST_SHARE = 1e-6
"""The most popular item of training counts so much, where the most popular one of now counts 1."""
_STREAM_TIMEOUT_S = 900.0
"""A stream is opened again after this time, so that one whose connection died does not stay."""


class CurrentPopularity:
    """The popularity of items by their numbers. One task changes it, any thread may read."""

    def __init__(self) -> None:
        self.lineage = ""
        """The lineage of the database that the numbers belong to."""
        self.revision = 0
        """The revision of the last message."""
        self._values = np.empty(0)
        self._highest = -inf

    @property
    def is_known(self) -> bool:
        """Whether any item has a value."""
        return self._highest > -inf

    def of(self, item_nos: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return [n] the popularity of items, as a share of that of the most popular one.

        An item without an event, and one that is not known, has 0.
        """
        values = self._values
        if not self.is_known:
            return np.zeros(len(item_nos))
        known = item_nos < len(values)
        found = np.full(len(item_nos), NEVER)
        found[known] = values[item_nos[known]]
        return relative(found, self._highest)

    def strongest(self) -> Sparse:
        """Return what popularity adds to scores of the most popular items, before its weight."""
        items, scores = strongest(self._values)
        return Sparse(items, scores.astype(np.float32))

    def take(self, message: WatchPopularityResponse) -> None:
        """Take the changes of a message. Raises InvalidArgument (PACKED_INVALID)."""
        item_nos = unpack_int64(message.item_nos)
        least = min(message.revision, item_nos.min(initial=0))
        if least < 0 or len(message.log2_weights) != len(message.item_nos):
            raise InvalidArgument("PACKED_INVALID", "a number is negative, or lacks its weight")
        values = np.frombuffer(message.log2_weights, "<f8")
        if message.reset or self.lineage != message.lineage:
            self._values, self._highest = np.empty(0), -inf
        size = int(item_nos.max(initial=-1)) + 1
        if size > len(self._values):
            grown = np.full(2 * size, NEVER)
            grown[: len(self._values)] = self._values
            self._values = grown
        self._values[item_nos] = values
        self._highest = max(self._highest, float(values.max(initial=-inf)))
        self.lineage, self.revision = message.lineage, message.revision


class ItemPopularity:
    """The popularity of one ranker's items by their numbers, from now and from training.

    While no event is counted it is the events of an item in training. Else it is the item's share
    of the most popular item's popularity now; those of training only order what has none.
    """

    def __init__(
        self, current: CurrentPopularity, trained: NDArray[np.float64], weight: float = 0.0
    ) -> None:
        """`trained` [rows] are the events in training by row of the bundle, `weight` is what the
        manifest says."""
        self.by_number = np.zeros(0)
        """[n] indexed by item number."""
        self.added: Sparse | None = NOTHING if weight else None
        """The popularity that is added to scores; None where nothing is ever added."""
        self._weight = weight
        self._current = current
        self._trained = trained
        self._least_share = _LEAST_SHARE / max(float(trained.max(initial=0.0)), 1.0)
        self._of_training = np.zeros(0)
        self._lineage = ""
        self._lock = threading.Lock()

    def put(self, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> bool:
        """Take items [n] with their rows, −1 for none; return whether `by_number` changed.

        A row that an item had before stays what it counts by.
        """
        with self._lock:
            size = int(numbers.max(initial=-1)) + 1
            before = self.by_number
            if size > len(before):
                self.by_number = _grown(self.by_number, 2 * size)
                self._of_training = _grown(self._of_training, 2 * size)
            known = rows >= 0
            self._of_training[numbers[known]] = self._trained[rows[known]]
            values = self._mixed(numbers)
            if self.by_number is before and np.array_equal(before[numbers], values):
                return False
            self.by_number[numbers] = values
            return True

    def update(self, lineage: str) -> int:
        """Make `by_number` anew of what is popular now, if its numbers belong to this lineage.

        Returns the revision of what is popular now.
        """
        revision = self._current.revision
        with self._lock:
            self._lineage = lineage
            self.by_number = self._mixed(np.arange(len(self.by_number)))
            if self._weight:
                is_same = self._current.lineage == lineage
                items, scores = self._current.strongest() if is_same else NOTHING
                self.added = Sparse(items, np.float32(self._weight) * scores)
        return revision

    def _mixed(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        trained = self._of_training[numbers]
        if not self._current.is_known or self._current.lineage != self._lineage:
            return trained
        return self._current.of(numbers) + self._least_share * trained


def _grown(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    grown = np.zeros(size)
    grown[: len(values)] = values
    return grown


class PopularityFollower:
    """Keeps a CurrentPopularity as the profile service says, over any number of broken streams."""

    def __init__(
        self,
        profile: grpc.aio.Channel,
        current: CurrentPopularity,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        """`on_change` is awaited after each message that changed something."""
        self._stub = OutcomeServiceStub(profile)
        self._on_change = on_change
        self._current = current
        self._revision = 0
        self._half_life = Duration()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow in the background."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        backoff = ExponentialBackoff(_FIRST_DELAY_S, _LAST_DELAY_S)
        while True:
            request = WatchPopularityRequest(
                since_revision=self._revision,
                lineage=self._current.lineage,
                half_life=self._half_life,
            )
            try:
                async for message in self._stub.WatchPopularity(request, timeout=_STREAM_TIMEOUT_S):
                    self._current.take(message)
                    if message.item_nos or message.reset:
                        await self._on_change()
                    self._revision, self._half_life = message.revision, message.half_life
                    backoff.reset()
            except (grpc.aio.AioRpcError, ServiceError) as error:
                problem = error.code().name if isinstance(error, grpc.aio.AioRpcError) else error
                _log.info("popularity_stream_ended", problem=str(problem))
            await asyncio.sleep(backoff.next_s())
