"""Serves OutcomeService."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from groundswell.features.fusion_policy import CutNormal, FusionPolicy, Grid
from groundswell.profile.v1 import outcome_service_pb2 as pb
from groundswell.profile.v1.outcome_service_pb2_grpc import OutcomeServiceServicer
from groundswell.profile_service.outcomes.lists import NewList, ShownLists
from groundswell.profile_service.outcomes.off_policy import Interval
from groundswell.profile_service.outcomes.popularity_counter import Popularity, PopularityChanges
from groundswell.profile_service.outcomes.rates import Group, Key, OutcomeRow
from groundswell.profile_service.outcomes.reports import OutcomeReports
from groundswell.profile_service.store.lists import NUM_BINS, Span
from groundswell.serving.around import Context
from groundswell.serving.attribution import AttributionTokens, Draw
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.slices import Slices
from groundswell.serving.subjects import read_subject
from groundswell.serving.validation import check_item_id, check_time, to_us
from groundswell.serving.vectors import pack_int64, pack_uint32, unpack_int64

M = TypeVar("M")

MAX_LISTS = 1_000
MAX_SHOWN = 200
MAX_POINTS = 101
DAY_US = 86_400 * 1_000_000
_DEFAULT_US = 7 * DAY_US
_LONGEST_US = 90 * DAY_US
_GROUPS = {
    pb.OUTCOME_GROUP_BUNDLE: Group.BUNDLE,
    pb.OUTCOME_GROUP_VARIANT: Group.VARIANT,
    pb.OUTCOME_GROUP_FUSION_WEIGHT: Group.FUSION_WEIGHT,
    pb.OUTCOME_GROUP_PLACE: Group.PLACE,
}


class OutcomeServicer(OutcomeServiceServicer):
    """The contract is in outcome_service.proto."""

    def __init__(
        self,
        lists: ShownLists,
        reports: OutcomeReports,
        popularity: Popularity,
        tokens: AttributionTokens,
    ) -> None:
        self._lists = lists
        self._reports = reports
        self._popularity = popularity
        self._tokens = tokens
        self._slices = Slices()

    async def RecordLists(
        self, request: pb.RecordListsRequest, context: Context
    ) -> pb.RecordListsResponse:
        """Store lists that were answered."""
        _check_count(request.lists, "lists", "LISTS_INVALID")

        def read(numbered: tuple[str, pb.RecommendedList]) -> NewList:
            field, one = numbered
            made = self._tokens.read(one.attribution_token, f"{field}attribution_token")
            subject = _subject(one, field)
            return NewList(made, subject, _answered(one, field), lineage=request.lineage)

        lists = await self._slices.map(read, _numbered(request.lists, "lists"))
        await self._lists.store(lists)
        return pb.RecordListsResponse()

    async def RecordImpressions(
        self, request: pb.RecordImpressionsRequest, context: Context
    ) -> pb.RecordImpressionsResponse:
        """Store what was shown."""
        _check_count(request.impressions, "impressions", "IMPRESSIONS_INVALID")

        def read(numbered: tuple[str, pb.Impression]) -> NewList:
            field, one = numbered
            made = self._tokens.read(one.attribution_token, f"{field}attribution_token")
            return NewList(made, _subject(one, field), item_ids=_shown(one, field))

        lists = await self._slices.map(read, _numbered(request.impressions, "impressions"))
        await self._lists.store(lists)
        return pb.RecordImpressionsResponse()

    async def GetImpressions(
        self, request: pb.GetImpressionsRequest, context: Context
    ) -> pb.GetImpressionsResponse:
        """Count what a user was shown."""
        subject = read_subject(request)
        within_us = _DEFAULT_US
        if request.HasField("within"):
            within_us = request.within.ToMicroseconds()
            if not 0 < within_us <= _LONGEST_US:
                message = "within must be above 0, and at most 90 days"
                raise InvalidArgument("WITHIN_INVALID", message, field="within")
        counts, lineage = await self._lists.impressions(subject, within_us)
        return pb.GetImpressionsResponse(
            item_nos=pack_int64(list(counts)),
            counts=pack_uint32(list(counts.values())),
            lineage=lineage,
        )

    async def GetOutcomes(
        self, request: pb.GetOutcomesRequest, context: Context
    ) -> pb.GetOutcomesResponse:
        """Count outcomes."""
        span = _span(request)._replace(confirmed_only=request.confirmed_only)
        groups = [_GROUPS.get(group) for group in request.groups]
        if None in groups or len(set(groups)) < len(groups):
            message = "groups has an unknown one, or one twice"
            raise InvalidArgument("GROUPS_INVALID", message, field="groups")
        counted = await self._reports.count(span, {group for group in groups if group})
        rows = sorted(counted.rows.items(), key=lambda row: _order(row[0]))
        return pb.GetOutcomesResponse(
            outcomes=[_outcomes(key, counts) for key, counts in rows],
            num_not_shown=counted.num_not_shown,
        )

    async def EstimatePolicy(
        self, request: pb.EstimatePolicyRequest, context: Context
    ) -> pb.EstimatePolicyResponse:
        """Estimate what another policy of fusion weights would give."""
        policy = _policy(request.policy)
        draw = Draw.GRID if isinstance(policy, Grid) else Draw.DENSITY
        span = _span(request)._replace(draw=draw)
        purchases = request.reward == pb.REWARD_PURCHASE
        found = await self._reports.estimate(span, policy, purchases=purchases)
        return pb.EstimatePolicyResponse(
            inverse_propensity=_estimate(found.inverse_propensity),
            self_normalised=_estimate(found.self_normalised),
            logged=_estimate(found.logged),
            num_lists=found.num_lists,
            num_effective=found.num_effective,
            mean_weight=found.mean_weight,
        )

    async def WatchPopularity(
        self, request: pb.WatchPopularityRequest, context: Context
    ) -> AsyncIterator[pb.WatchPopularityResponse]:
        """Follow what is popular."""
        if request.since_revision < 0:
            message = f"since_revision {request.since_revision} is negative"
            raise InvalidArgument("REVISION_INVALID", message, field="since_revision")
        half_life_us = request.half_life.ToMicroseconds()
        following = self._popularity.watch(request.since_revision, request.lineage, half_life_us)
        async with aclosing(following) as watched:
            async for changes in watched:
                yield _popularity(changes)


def _numbered(messages: Sequence[M], field: str) -> Iterator[tuple[str, M]]:
    """Give each message with its path, a dot at the end."""
    return ((f"{field}[{n}].", message) for n, message in enumerate(messages))


def _check_count(messages: Sequence[object], field: str, reason: str) -> None:
    if not 1 <= len(messages) <= MAX_LISTS:
        message = f"{field} has {len(messages)}; it must have 1 to {MAX_LISTS}"
        raise InvalidArgument(reason, message, field=field)


def _subject(one: pb.RecommendedList | pb.Impression, field: str) -> str:
    """Read whom a list was shown to; empty for nobody."""
    return read_subject(one, field) if one.user_id or one.session_id else ""


def _answered(one: pb.RecommendedList, field: str) -> bytes:
    numbers = unpack_int64(one.item_nos)
    if len(numbers) > MAX_SHOWN or (numbers < 1).any():
        message = f"{field}item_nos must have at most {MAX_SHOWN} numbers, each above 0"
        raise InvalidArgument("LISTS_INVALID", message, field=f"{field}item_nos")
    return pack_int64(numbers)


def _shown(one: pb.Impression, field: str) -> Sequence[str]:
    if not 1 <= len(one.item_ids) <= MAX_SHOWN:
        message = f"{field}item_ids has {len(one.item_ids)}; it must have 1 to {MAX_SHOWN}"
        raise InvalidArgument("IMPRESSIONS_INVALID", message, field=f"{field}item_ids")
    for n, item_id in enumerate(one.item_ids):
        check_item_id(item_id, f"{field}item_ids[{n}]")
    return list(one.item_ids)


def _span(request: pb.GetOutcomesRequest | pb.EstimatePolicyRequest) -> Span:
    now_us = time.time_ns() // 1000
    since_us, until_us = now_us - _DEFAULT_US, now_us + DAY_US
    if request.HasField("since"):
        check_time(request.since, "since")
        since_us = to_us(request.since)
    if request.HasField("until"):
        check_time(request.until, "until")
        until_us = to_us(request.until)
    if until_us < since_us:
        raise InvalidArgument("TIME_INVALID", "until lies before since", field="until")
    return Span(since_us, until_us)


def _policy(policy: pb.FusionPolicy) -> FusionPolicy:
    try:
        if policy.WhichOneof("policy") == "normal":
            return CutNormal(policy.normal.mean, policy.normal.deviation)
        weights = tuple(policy.points.fusion_weights)
        if len(weights) > MAX_POINTS:
            raise ValueError(f"there are {len(weights)} weights; at most {MAX_POINTS} are taken")
        probabilities = tuple(policy.points.probabilities)
        return Grid(weights, probabilities) if probabilities else Grid.uniform(weights)
    except ValueError as error:
        raise InvalidArgument("POLICY_INVALID", str(error), field="policy") from None


def _order(key: Key) -> tuple[str, str, int, int]:
    return key.bundle_id, key.variant, -1 if key.tenth is None else key.tenth, key.place


def _outcomes(key: Key, counts: OutcomeRow) -> pb.Outcomes:
    return pb.Outcomes(
        bundle_id=key.bundle_id,
        variant=key.variant,
        fusion_weight=None if key.tenth is None else key.tenth / NUM_BINS,
        place=key.place,
        **asdict(counts),
    )


def _estimate(interval: Interval) -> pb.Estimate:
    return pb.Estimate(**asdict(interval))


def _popularity(changes: PopularityChanges) -> pb.WatchPopularityResponse:
    half_life = Duration()
    half_life.FromMicroseconds(changes.half_life_us)
    return pb.WatchPopularityResponse(
        item_nos=pack_int64(changes.item_nos),
        log2_weights=changes.values.astype("<f8").tobytes(),
        revision=changes.revision,
        caught_up=changes.caught_up,
        lineage=changes.lineage,
        half_life=half_life,
        reset=changes.reset,
    )
