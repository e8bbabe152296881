"""The client of the profile service: long-term vectors and seen items of users."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import grpc
import numpy as np
from numpy.typing import NDArray

from groundswell.profile.v1.profile_service_pb2 import (
    BatchGetProfilesRequest,
    ExplainProfileRequest,
    ExplainProfileResponse,
    GetProfileRequest,
    GetProfileResponse,
    Profile,
)
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.ranker_service.kept import KeptAnswers
from groundswell.ranker_service.replicas import (
    Begun,
    BundleSpace,
    Upstream,
    has_negative,
    has_numbers_of,
    last_event_us,
    refused,
)
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.seen import SeenCache, UserItems
from groundswell.serving.errors import ServiceError
from groundswell.serving.subjects import name_subject
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto, vector_to_proto

_SERVICE = "profile"
_METHOD = "/groundswell.profile.v1.ProfileService/GetProfile"
_ANSWER_BYTES = 600
"""The bytes of an answer besides the values of its vector: the objects."""


@dataclass(frozen=True)
class LongTerm:
    """What the profile service knows of a user."""

    vector: NDArray[np.float32] | None
    """[d] u_l; None while the encoder has covered nothing."""
    num_events: int
    last_event_us: int | None
    """When the vector's last covered event happened."""
    stale: bool
    items: UserItems | None
    """The items that the user interacted with; None when they are not known."""
    is_of_now: bool = True
    """False when this is an earlier answer: the database or the profile service did not answer."""
    lineage: str = ""
    """That of the database that the item numbers belong to."""
    items_version: int = 0
    """That of `items`; 0 without."""

    @property
    def num_bytes(self) -> int:
        """The memory that it takes, without `items`."""
        return _ANSWER_BYTES + (0 if self.vector is None else self.vector.nbytes)


class ProfileClient:
    """Asks for the profiles of users. Seen items that the cache holds are not sent again.

    While the service does not answer, the last profiles that it gave are used.
    """

    max_users = 32
    """How many users one call asks for at most."""

    def __init__(self, channel: grpc.aio.Channel, seen: SeenCache, *, max_kept_bytes: int) -> None:
        self._stub = ProfileServiceStub(channel)
        # It gives the bytes: most answers are the same as the last one about the user.
        self._get: grpc.aio.UnaryUnaryMultiCallable[GetProfileRequest, bytes] = channel.unary_unary(
            _METHOD, request_serializer=GetProfileRequest.SerializeToString
        )
        self._upstream = Upstream(_SERVICE)
        self._seen = seen
        self._kept: KeptAnswers[LongTerm] = KeptAnswers(max_kept_bytes)

    @property
    def is_down(self) -> bool:
        """Whether the service is taken for down."""
        return self._upstream.is_down

    def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the last answers about users, and their seen items."""
        self._kept.drop(user_marks)
        self._seen.drop(user_marks)

    def begin(self, user: Ask, space: BundleSpace, deadline: float) -> Begun[LongTerm]:
        """Ask about one user now; the answer is None where nothing is known.

        `deadline` is a time of the event loop. The answer raises BundleNotHeldError when the
        service lacks a bundle that has a substitute.
        """
        held = self._seen.get(user.user_mark)
        request = _request(user, held, space)

        def send(timeout_s: float) -> Awaitable[bytes]:
            call: Awaitable[bytes] = self._get(request, timeout=timeout_s)
            return call

        call, answer = self._upstream.begin(send, space, deadline)
        return Begun(call, partial(self._long_term, answer, user, held, space))

    async def _long_term(
        self,
        answer: Callable[[], Awaitable[bytes | None]],
        user: Ask,
        held: UserItems | None,
        space: BundleSpace,
    ) -> LongTerm | None:
        sent = await answer()
        if sent is None:
            return self._last(user, held, space)
        return self._again(sent, user, held, space) or self._read(
            GetProfileResponse.FromString(sent).profile, user, held, space, sent
        )

    async def long_terms(
        self, users: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> Sequence[LongTerm | None]:
        """Return what is known of each user, in their order; see `begin`."""
        held = [self._seen.get(user.user_mark) for user in users]
        requests = [_request(*pair, space) for pair in zip(users, held, strict=True)]
        profiles = await self._upstream.ask(partial(self._ask, requests), space, deadline)
        if profiles is None:
            return [self._last(user, known, space) for user, known in zip(users, held, strict=True)]
        read = []
        for profile, user, known in zip(profiles, users, held, strict=True):
            sent = profile.SerializeToString()
            again = self._again(sent, user, known, space)
            read.append(again or self._read(profile, user, known, space, sent))
        return read

    def _again(
        self, sent: bytes, user: Ask, held: UserItems | None, space: BundleSpace
    ) -> LongTerm | None:
        """Return what was read of the same bytes before; None without such."""
        kept = self._kept.read_from(sent, user.user_mark, space)
        if kept is None or held is None:
            return None
        is_same = (kept.items_version, kept.lineage) == (held.version, held.lineage)
        return replace(kept, items=held) if is_same else None

    async def effects(
        self, user: Ask, space: BundleSpace, item_vector: NDArray[np.float32], timeout_s: float
    ) -> ExplainProfileResponse | None:
        """Return what a user's history does for an item [d]; None without an answer in time.

        What such a costly call takes says nothing about others, so no failure of it counts. A
        service that is taken for down is not asked.
        """
        if self.is_down:
            count("explanations_lacking")
            return None
        request = ExplainProfileRequest(
            bundle_id=space.bundle_id, item_vector=vector_to_proto(item_vector, space.bundle_id)
        )
        name_subject(request, user.user_id)
        try:
            answer = await self._stub.ExplainProfile(request, timeout=timeout_s)
        except grpc.aio.AioRpcError:
            count("explanations_lacking")
            return None
        return answer if has_numbers_of(space, answer.lineage, _SERVICE) else None

    async def _ask(
        self, requests: Sequence[GetProfileRequest], timeout_s: float
    ) -> Sequence[Profile]:
        """Return a profile per request, in their order. Raises AioRpcError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        batch = BatchGetProfilesRequest(requests=requests)
        profiles = list((await self._stub.BatchGetProfiles(batch, timeout=timeout_s)).profiles)
        for place, request in enumerate(requests):
            if _lacks_seen(request, profiles[place]):
                # The lists of all users did not fit into one answer. If this call fails, the user's
                # answer says that the seen items are incomplete.
                try:
                    left_s = max(deadline - loop.time(), 0.0)
                    answer = await self._stub.GetProfile(request, timeout=left_s)
                except grpc.aio.AioRpcError:
                    count("seen_items_lacking")
                    break
                profiles[place] = answer.profile
        return profiles

    def _read(
        self,
        profile: Profile,
        user: Ask,
        known: UserItems | None,
        space: BundleSpace,
        sent: bytes = b"",
    ) -> LongTerm | None:
        seen = profile.seen
        if has_negative(_SERVICE, profile.num_events, seen.version, seen.since_version):
            return None
        try:
            fits = has_numbers_of(space, seen.lineage, _SERVICE)
            items = self._seen.take(user.user_mark, seen, known) if fits else None
            answer = LongTerm(
                vector=(
                    vector_from_proto(profile.vector, space.dimension, space.bundle_id)
                    if profile.vector.values
                    else None
                ),
                num_events=profile.num_events,
                last_event_us=last_event_us(profile),
                stale=profile.stale,
                items=None,
                is_of_now=not profile.HasField("as_of"),
                lineage=seen.lineage,
                items_version=0 if items is None else items.version,
            )
        except ServiceError as error:
            refused(_SERVICE, error)
            return None
        # The cache of seen items alone holds and counts them.
        self._kept.put(user.user_mark, space, answer, sent)
        return replace(answer, items=items)

    def _last(self, user: Ask, known: UserItems | None, space: BundleSpace) -> LongTerm | None:
        """Return what the service last said of a user whom it does not answer for now."""
        kept = self._kept.get(user.user_mark, space)
        if kept is None:
            return None
        count("upstream_answers_kept", upstream=_SERVICE)
        return replace(kept, stale=True, is_of_now=False, items=known)


def _request(user: Ask, held: UserItems | None, space: BundleSpace) -> GetProfileRequest:
    request = GetProfileRequest(
        bundle_id=space.bundle_id,
        known_seen_version=None if held is None else held.version,
        known_seen_lineage="" if held is None else held.lineage,
        accepts_seen_difference=True,
    )
    name_subject(request, user.user_id)
    return request


def _lacks_seen(request: GetProfileRequest, profile: Profile) -> bool:
    """Whether an answer leaves out seen items that the caller does not hold."""
    seen = profile.seen
    held = (request.known_seen_version, request.known_seen_lineage)
    is_held = request.HasField("known_seen_version") and held == (seen.version, seen.lineage)
    return seen.version > 0 and not seen.included and not is_held
