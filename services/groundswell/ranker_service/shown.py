"""Sends the lists that were answered to the profile service, in batches; no answer waits for it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import NamedTuple

import grpc
import structlog

from groundswell.profile.v1.outcome_service_pb2 import RecommendedList, RecordListsRequest
from groundswell.profile.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.slices import Slices
from groundswell.serving.subjects import name_subject
from groundswell.serving.telemetry import count, gauge
from groundswell.serving.vectors import pack_int64

_log = structlog.get_logger(__name__)

_SEND_EVERY_S = 1.0
_MAX_BATCH = 500
"""As many as the profile service stores in one transaction. It stores so many at once, while fewer
wait there for others, up to a second."""
_TIMEOUT_S = 10.0
_CLOSE_WITHIN_S = 5.0
"""The longest that the end of the process waits for lists that have not been sent."""
_FIRST_WAIT_S, _LAST_WAIT_S = 1.0, 30.0
_LASTING = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
"""Refusals that a second try would get again."""


class AnsweredList(NamedTuple):
    """A list that was answered."""

    token: str
    user_id: str
    """The subject id; empty for inline events."""
    item_nos: Sequence[int]
    lineage: str


class AnsweredLists:
    """A bounded queue of lists. When it is full, new lists are dropped and counted."""

    def __init__(self, profile: grpc.aio.Channel, *, max_waiting: int) -> None:
        self._stub = OutcomeServiceStub(profile)
        self._max_waiting = max_waiting
        self._waiting: deque[AnsweredList] = deque()
        self._slices = Slices()
        self._task: asyncio.Task[None] | None = None
        count("lists_dropped", 0)  # without it the first ones would be no increase
        self._told: set[grpc.StatusCode] = set()
        """Refusals that the log has."""

    async def start(self) -> None:
        """Begin to send in the background."""
        self._task = asyncio.create_task(self._keep_sending())

    async def close(self) -> None:
        """Stop; what still waits is sent, as far as that takes no more than some seconds."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                while self._waiting:
                    await self._send()
        except (TimeoutError, grpc.aio.AioRpcError):
            count("lists_dropped", len(self._waiting))
            _log.warning("lists_dropped", num_lists=len(self._waiting))

    def put(self, one: AnsweredList) -> None:
        """Take a list, to be sent soon. It returns at once."""
        if len(self._waiting) >= self._max_waiting:
            count("lists_dropped")
        else:
            self._waiting.append(one)

    async def _keep_sending(self) -> None:
        backoff = ExponentialBackoff(_FIRST_WAIT_S, _LAST_WAIT_S)
        wait_s = _SEND_EVERY_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = _SEND_EVERY_S
            try:
                while self._waiting:
                    await self._send()
                    backoff.reset()
            except grpc.aio.AioRpcError as error:
                wait_s = backoff.next_s()
                _log.warning("lists_not_sent", code=error.code().name, again_in_s=wait_s)
            gauge("lists_waiting", len(self._waiting))

    async def _send(self) -> None:
        """Send the first lists that wait. Raises AioRpcError, and then they wait on."""
        lineage = self._waiting[0].lineage
        first = islice(self._waiting, _MAX_BATCH)
        batch = list(takewhile(lambda one: one.lineage == lineage, first))
        messages = await self._slices.map(_message, batch)
        request = RecordListsRequest(lists=messages, lineage=lineage)
        try:
            await self._stub.RecordLists(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _LASTING:
                raise
            count("lists_dropped", len(batch))
            if error.code() not in self._told:  # once: an earlier release refuses every batch
                self._told.add(error.code())
                _log.error("lists_refused", code=error.code().name)
        for _ in batch:
            self._waiting.popleft()


def _message(one: AnsweredList) -> RecommendedList:
    message = RecommendedList(attribution_token=one.token, item_nos=pack_int64(one.item_nos))
    if one.user_id:
        name_subject(message, one.user_id)
    return message
