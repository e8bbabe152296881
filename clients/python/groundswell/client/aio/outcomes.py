"""The aio client's calls about what was shown and what came of it."""

from collections.abc import Iterable
from typing import Unpack

import grpc

from groundswell.client import outcome_requests
from groundswell.client.aio.calls import AsyncThrottledCalls
from groundswell.client.aio.user_data import AsyncUserDataCalls
from groundswell.client.channels import Deadlines
from groundswell.profile.v1 import outcome_service_pb2 as outcome_pb2
from groundswell.profile.v1.outcome_service_pb2_grpc import OutcomeServiceStub


class AsyncOutcomeCalls(AsyncUserDataCalls):
    """The part of AsyncGroundswellClient that OutcomeService answers."""

    def __init__(
        self, channel: grpc.aio.Channel, call: AsyncThrottledCalls, deadlines: Deadlines
    ) -> None:
        super().__init__(channel, call, deadlines)
        self._outcomes = OutcomeServiceStub(channel)

    async def record_impressions(
        self, shown: Iterable[outcome_pb2.Impression], *, timeout: float | None = None
    ) -> None:
        """Say what was in fact shown of up to 1,000 answers; it returns when that is stored.

        Needed where not all of an answer is shown, and for answers of `batch_recommend`.
        """
        request = outcome_pb2.RecordImpressionsRequest(impressions=shown)
        await self._call(
            self._outcomes.RecordImpressions, request, timeout, self._deadlines.write_s
        )

    async def impressions(
        self,
        user_id: str = "",
        *,
        session_id: str = "",
        within_s: float | None = None,
        timeout: float | None = None,
    ) -> outcome_pb2.GetImpressionsResponse:
        """How often a user or a session was shown each item, by default in the last 7 days."""
        request = outcome_requests.impressions_request(user_id, session_id, within_s)
        return await self._call(
            self._outcomes.GetImpressions, request, timeout, self._deadlines.read_s
        )

    async def outcomes(
        self,
        groups: Iterable[str] = (),
        *,
        timeout: float | None = None,
        **options: Unpack[outcome_requests.OutcomeOptions],
    ) -> outcome_pb2.GetOutcomesResponse:
        """How many shown items were clicked and purchased, by any of the groups.

        The groups are "bundle", "variant", "fusion_weight" and "place". Raises ValueError for
        another one.
        """
        request = outcome_requests.outcomes_request(groups, options)
        return await self._call(
            self._outcomes.GetOutcomes, request, timeout, self._deadlines.bulk_s
        )

    async def estimate_policy(
        self,
        policy: outcome_pb2.FusionPolicy,
        *,
        purchases: bool = False,
        timeout: float | None = None,
        **options: Unpack[outcome_requests.SpanOptions],
    ) -> outcome_pb2.EstimatePolicyResponse:
        """Which share of lists would be clicked under another policy of fusion weights.

        It reads the lists whose weight the ranker drew at random. With `purchases` it is the share
        of lists of which an item is purchased.
        """
        request = outcome_requests.policy_request(policy, options, purchases=purchases)
        return await self._call(
            self._outcomes.EstimatePolicy, request, timeout, self._deadlines.bulk_s
        )
