"""Checked requests for one user or visitor, and the reader that checks them by the contract."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from groundswell.artifacts.variants import Variant
from groundswell.common.v1.event_pb2 import InlineEvents
from groundswell.ranker.v1.ranker_service_pb2 import (
    BatchRecommendRequest,
    ExplainItemRequest,
    GetInterestsRequest,
    RecommendCategoriesRequest,
    RecommendRequest,
    ReplayRecommendRequest,
    Sort,
    StreamRecommendRequest,
)
from groundswell.ranker_service.availability import now_us
from groundswell.ranker_service.control_requests import AskedControls, read_controls
from groundswell.ranker_service.page_tokens import PageTokens, ShownItems
from groundswell.serving.attribution import Draw
from groundswell.serving.errors import InvalidArgument, ServiceError
from groundswell.serving.inline_events import read_inline_events
from groundswell.serving.interests import DEFAULT_INTERESTS, MAX_INTERESTS
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.slices import Slices
from groundswell.serving.subjects import subject_id
from groundswell.serving.validation import (
    check_num_interests,
    check_number,
    check_page_size,
    check_subject,
    check_time,
    to_us,
)

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 200
MAX_DENY_ITEMS = 10_000
MAX_REQUESTS = 256
DEFAULT_CATEGORIES, MAX_CATEGORIES, MAX_ITEMS_OF_CATEGORY = 5, 20, 50
MAX_NUM_INTERESTS = 1_000
_SORTS = frozenset(Sort.values())
_MAX_TIMES = 1_000
_MAX_PENALTY = 100
_DAY_US = 86_400 * 1_000_000
_WITHIN_US, _LONGEST_US = 7 * _DAY_US, 90 * _DAY_US
MAX_TOTAL = 10_000
"""Of a batch: as many items of the longest ids fit into one answer."""


class ImpressionLimits(NamedTuple):
    """How often a user may be shown the same item."""

    max_times: int
    """Such items are left out; 0: none is."""
    within_us: int
    penalty: float
    """What each showing takes from a score, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A checked request for one user, for an anonymous session, or for inline events."""

    user_id: str = ""
    """The subject id of the user or the session; empty for inline events."""
    user_mark: bytes = b""
    """The mark of the user's pseudonym, which caches are keyed by and erasures name."""
    inline_events: InlineEvents | None = None
    """The events of a visitor; None for a user."""
    where: str = ""
    """The path of the request in a batch; empty for a call of one request."""
    as_of_us: int
    """The request's own time, in microseconds since 1970."""
    k: int
    """How many items; 0: none, the interests alone."""
    filter: str = ""
    deny_item_ids: Sequence[str] = ()
    exclude_seen: bool = True
    fusion_weight: float | None = None
    """Forces α, in [0, 1]; None: the bundle decides."""
    num_interests: int = DEFAULT_INTERESTS
    """How many categories at most."""
    controls: AskedControls | None = None
    """None: the scores alone arrange the page."""
    by_vector: bool = False
    """Whether ranks, or interests, by either vector alone are wanted too."""
    with_next_page: bool = False
    """Whether the answer names the page after it."""
    shown: ShownItems | None = None
    """The items of the pages before; None for the first page."""
    is_trending: bool = False
    """Whether the items are ordered by what is popular now."""
    impressions: ImpressionLimits | None = None
    """None: without limits."""
    draw: Draw = Draw.NONE
    """How `fusion_weight` was chosen, if at random."""
    propensity: float = 0.0
    """The probability or the density with which it was drawn."""
    bundle_id: str = ""
    """The bundle that must rank; empty: the one in use."""
    request: bytes = b""
    """A hash of the request, by which it is recognised when it comes again; empty for one within a
    call that asks for several lists by one request."""
    variant: Variant | None = None
    """The user's variant, which has set what it sets."""


class RequestReader:
    """Reads requests; users get their pseudonyms here."""

    def __init__(self, pseudonyms: Pseudonymizer, tokens: PageTokens) -> None:
        self._pseudonyms = pseudonyms
        self._tokens = tokens
        self._slices = Slices()

    def recommend(self, request: RecommendRequest, where: str = "") -> Ask:
        """Read one request. Raises InvalidArgument with the reasons of the contract."""
        page_size = check_page_size(request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        if len(request.deny_item_ids) > MAX_DENY_ITEMS:
            raise InvalidArgument(
                "DENY_LIST_INVALID",
                f"deny_item_ids has {len(request.deny_item_ids)} ids; "
                f"at most {MAX_DENY_ITEMS} are allowed",
                field="deny_item_ids",
            )
        num_interests = check_num_interests(request, 0, MAX_NUM_INTERESTS)
        return Ask(
            **self._of_both_kinds(request),
            where=where,
            k=page_size,
            num_interests=num_interests,
            filter=request.filter,
            # Not copied: a batch may have half a million, which would be freed in one turn.
            deny_item_ids=request.deny_item_ids,
            exclude_seen=request.exclude_seen if request.HasField("exclude_seen") else True,
            controls=read_controls(request, page_size),
            by_vector=request.explain,
            with_next_page=request.with_next_page,
            shown=self._tokens.read(request.page_token) if request.page_token else None,
            is_trending=_is_trending(request),
            impressions=_impressions(request),
            bundle_id=request.bundle_id,
            request=_hash(request),
        )

    async def batch(self, request: BatchRecommendRequest | StreamRecommendRequest) -> list[Ask]:
        """Read a batch, in slices; an error names the request that it is in."""
        if not 1 <= len(request.requests) <= MAX_REQUESTS:
            raise InvalidArgument(
                "REQUESTS_INVALID",
                f"requests has {len(request.requests)}; it must have 1 to {MAX_REQUESTS}",
                field="requests",
            )
        asks = await self._slices.map(self._one_of_batch, enumerate(request.requests))
        _check_total(sum(ask.k for ask in asks), "items")
        _check_total(sum(ask.num_interests for ask in asks), "interests")
        return asks

    def nested(self, request: ExplainItemRequest | ReplayRecommendRequest) -> Ask:
        """Read the request within a request: its answer is to be explained, or made again."""
        where = "request"
        try:
            return self.recommend(request.request, where)
        except ServiceError as error:
            raise located(error, where) from error

    def categories(self, request: RecommendCategoriesRequest) -> tuple[Ask, int]:
        """Read what is asked of each category, and the number of categories."""
        number = DEFAULT_CATEGORIES
        if request.HasField("num_categories"):
            reason = "NUM_CATEGORIES_INVALID"
            number = check_number(
                request.num_categories, "num_categories", reason, 1, MAX_CATEGORIES
            )
        try:
            ask = self.recommend(_without_pages(request.request), "request")
            check_number(ask.k, "page_size", "PAGE_SIZE_INVALID", 1, MAX_ITEMS_OF_CATEGORY)
        except ServiceError as error:
            raise located(error, "request") from error
        return replace(ask, num_interests=0, by_vector=False, request=b""), number

    def _one_of_batch(self, numbered: tuple[int, RecommendRequest]) -> Ask:
        where = f"requests[{numbered[0]}]"
        try:
            return self.recommend(_without_pages(numbered[1]), where)
        except ServiceError as error:
            raise located(error, where) from error

    def interests(self, request: GetInterestsRequest) -> Ask:
        """Read a request for interests alone."""
        num_interests = check_num_interests(request, 1, MAX_INTERESTS)
        return Ask(
            **self._of_both_kinds(request),
            k=0,
            num_interests=num_interests,
            by_vector=request.by_vector,
        )

    def _of_both_kinds(self, request: RecommendRequest | GetInterestsRequest) -> dict[str, Any]:
        """Read the subject, and what else both kinds of requests have."""
        kind = request.WhichOneof("subject")
        check_subject(kind, request.user_id, request.session_id)
        read: dict[str, Any] = {
            "as_of_us": _as_of_us(request),
            "fusion_weight": _fusion_weight(request),
        }
        if kind == "inline_events":
            read_inline_events(request.inline_events.events)
            return {**read, "inline_events": request.inline_events}
        user_id = subject_id(request.user_id, request.session_id)
        return {**read, "user_id": user_id, "user_mark": self._pseudonyms.mark(user_id)}


def _hash(request: RecommendRequest) -> bytes:
    content = request.SerializeToString(deterministic=True)
    return hashlib.blake2b(content, digest_size=16).digest()


def _is_trending(request: RecommendRequest) -> bool:
    if request.sort not in _SORTS:
        raise InvalidArgument("SORT_INVALID", f"sort {request.sort} is unknown", field="sort")
    return request.sort == Sort.SORT_TRENDING


def _impressions(request: RecommendRequest) -> ImpressionLimits | None:
    if not request.HasField("impressions"):
        return None
    reason, limits = "IMPRESSIONS_INVALID", request.impressions
    if request.WhichOneof("subject") == "inline_events":
        message = "it is not known what the visitor of inline events was shown"
        raise InvalidArgument(reason, message, field="impressions")
    if limits.HasField("max_times"):
        check_number(limits.max_times, "impressions.max_times", reason, 1, _MAX_TIMES)
    if not 0 <= limits.penalty <= _MAX_PENALTY:
        message = f"impressions.penalty is {limits.penalty}; it must be from 0 to {_MAX_PENALTY}"
        raise InvalidArgument(reason, message, field="impressions.penalty")
    within_us = limits.within.ToMicroseconds() if limits.HasField("within") else _WITHIN_US
    if not 0 < within_us <= _LONGEST_US:
        message = "impressions.within must be above 0, and at most 90 days"
        raise InvalidArgument(reason, message, field="impressions.within")
    return ImpressionLimits(limits.max_times, within_us, limits.penalty)


def _check_total(number: int, what: str) -> None:
    if number > MAX_TOTAL:
        raise InvalidArgument(
            "REQUESTS_INVALID",
            f"requests ask for {number:,} {what} together; at most {MAX_TOTAL:,} are given",
            field="requests",
        )


def _without_pages(request: RecommendRequest) -> RecommendRequest:
    """Return the request. Raises InvalidArgument (PAGE_TOKEN_INVALID) if it is about pages."""
    if request.with_next_page or request.page_token:
        field = "page_token" if request.page_token else "with_next_page"
        message = f"{field} is set; only Recommend gives page after page"
        raise InvalidArgument("PAGE_TOKEN_INVALID", message, field=field)
    return request


def _as_of_us(request: RecommendRequest | GetInterestsRequest) -> int:
    if not request.HasField("as_of"):
        return now_us()
    check_time(request.as_of, "as_of")
    return to_us(request.as_of)


def _fusion_weight(request: RecommendRequest | GetInterestsRequest) -> float | None:
    if not request.HasField("fusion_weight"):
        return None
    weight = request.fusion_weight
    if not (math.isfinite(weight) and 0 <= weight <= 1):
        raise InvalidArgument(
            "FUSION_WEIGHT_INVALID",
            f"fusion_weight is {weight}; it must be from 0 to 1",
            field="fusion_weight",
        )
    return weight


def located(error: ServiceError, where: str) -> ServiceError:
    """Return the error with the path of the request in a batch; the same error for no path."""
    if not where:
        return error
    field = where if error.field is None else f"{where}.{error.field}"
    message = f"{where}: {error.message}"
    return type(error)(error.reason, message, field=field, retry_after_s=error.retry_after_s)
