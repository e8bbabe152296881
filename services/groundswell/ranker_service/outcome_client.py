"""The client of OutcomeService: how often users were shown items."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray

from groundswell.profile.v1.outcome_service_pb2 import (
    GetImpressionsRequest,
    GetImpressionsResponse,
)
from groundswell.profile.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from groundswell.ranker_service.replicas import BundleSpace, Upstream, has_numbers_of, refused
from groundswell.ranker_service.requests import Ask
from groundswell.serving.errors import ServiceError
from groundswell.serving.subjects import name_subject
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import unpack_int64, unpack_uint32

_SERVICE = "outcomes"


class ShownCounts(NamedTuple):
    """How often a user was shown items."""

    item_nos: NDArray[np.int64]
    """[n]"""
    counts: NDArray[np.uint32]
    """[n]"""


class OutcomeClient:
    """Asks what one user was shown."""

    def __init__(self, profile: grpc.aio.Channel, is_down: Callable[[], bool]) -> None:
        """`is_down` says whether the profile service, which serves this, is taken for down."""
        self._is_down = is_down
        self._stub = OutcomeServiceStub(profile)
        self._upstream = Upstream(_SERVICE)

    async def shown(
        self,
        ask: Ask,
        space: BundleSpace,
        deadline: float,
    ) -> ShownCounts | None:
        """Return what the user was shown, if the ask limits it; None without an answer in time.

        `deadline` is a time of the event loop.
        """
        limits = ask.impressions
        if limits is None:
            return None
        if self._is_down():
            count("upstream_failures", upstream=_SERVICE, code="NOT_ASKED")
            return None
        request = GetImpressionsRequest()
        name_subject(request, ask.user_id)
        request.within.FromMicroseconds(limits.within_us)
        call = partial(self._ask, request)
        answer = await self._upstream.ask(call, space, deadline)
        if answer is None or not has_numbers_of(space, answer.lineage, _SERVICE):
            return None
        try:
            return ShownCounts(unpack_int64(answer.item_nos), unpack_uint32(answer.counts))
        except ServiceError as error:
            refused(_SERVICE, error)
            return None

    async def _ask(
        self, request: GetImpressionsRequest, timeout_s: float
    ) -> GetImpressionsResponse:
        return await self._stub.GetImpressions(request, timeout=timeout_s)
