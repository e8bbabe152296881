"""Builds requests about outcomes from plain arguments, the same for the sync and the aio client."""

from collections.abc import Iterable
from typing import TypedDict, TypeVar

from groundswell.client.messages import TimeLike, timestamp
from groundswell.profile.v1 import outcome_service_pb2 as outcome_pb2

OfSpan = TypeVar("OfSpan", outcome_pb2.GetOutcomesRequest, outcome_pb2.EstimatePolicyRequest)


class SpanOptions(TypedDict, total=False):
    """Of which answers outcomes are read."""

    # Those of this time and later; the last 7 days when it is not given.
    since: TimeLike
    # Those before this time; all when it is not given.
    until: TimeLike


class OutcomeOptions(SpanOptions, total=False):
    """Of which answers outcomes are counted."""

    # Whether only answers count of which `record_impressions` told what was shown.
    confirmed_only: bool


def impressions_request(
    user_id: str, session_id: str, within_s: float | None
) -> outcome_pb2.GetImpressionsRequest:
    """A request for `impressions`."""
    request = outcome_pb2.GetImpressionsRequest(user_id=user_id, session_id=session_id)
    if within_s is not None:
        request.within.FromMicroseconds(round(within_s * 1_000_000))
    return request


def outcomes_request(
    groups: Iterable[str], options: OutcomeOptions
) -> outcome_pb2.GetOutcomesRequest:
    """A request for `outcomes`. Raises ValueError for an unknown group."""
    request = outcome_pb2.GetOutcomesRequest(
        groups=[
            outcome_pb2.OutcomeGroup.Value(f"OUTCOME_GROUP_{group.upper()}") for group in groups
        ],
        confirmed_only=options.get("confirmed_only", False),
    )
    return _with_span(request, options)


def policy_request(
    policy: outcome_pb2.FusionPolicy, options: SpanOptions, *, purchases: bool
) -> outcome_pb2.EstimatePolicyRequest:
    """A request for `estimate_policy`."""
    reward = outcome_pb2.REWARD_PURCHASE if purchases else outcome_pb2.REWARD_CLICK
    request = outcome_pb2.EstimatePolicyRequest(policy=policy, reward=reward)
    return _with_span(request, options)


def _with_span(request: OfSpan, options: SpanOptions) -> OfSpan:
    if "since" in options:
        request.since.CopyFrom(timestamp(options["since"]))
    if "until" in options:
        request.until.CopyFrom(timestamp(options["until"]))
    return request
