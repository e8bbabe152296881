"""Serves ProfileService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np

from groundswell.common.v1.item_pb2 import Vector
from groundswell.profile.v1 import profile_service_pb2 as pb
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceServicer
from groundswell.profile_service.bundles.loaded import ProfileBundles
from groundswell.profile_service.profiles.cached import Profile
from groundswell.profile_service.profiles.explained import Effects
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.profile_service.servicers.sizes import REST_BYTES
from groundswell.serving.around import Context
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.limits import MAX_ANSWER_BYTES
from groundswell.serving.subjects import read_subject
from groundswell.serving.validation import check_user_id, to_timestamp
from groundswell.serving.vectors import pack_int64, pack_uint32, vector_from_proto, vector_to_proto

MAX_USERS = 256
MAX_REFRESHED_USERS = 10_000
MAX_SEEN_ITEMS = 200_000
MAX_EFFECTS = 10


class ProfileServicer(ProfileServiceServicer):
    """The contract is in profile_service.proto."""

    def __init__(self, profiles: Profiles, bundles: ProfileBundles) -> None:
        self._profiles = profiles
        self._bundles = bundles

    async def GetProfile(
        self, request: pb.GetProfileRequest, context: Context
    ) -> pb.GetProfileResponse:
        """Return one user's profile."""
        subject = read_subject(request)
        with self._bundles.held.asked_for(request.bundle_id) as models:
            (profile,) = await self._profiles.get([subject], models)
        return pb.GetProfileResponse.FromString(_answer(profile, request, models.id))

    async def BatchGetProfiles(
        self, request: pb.BatchGetProfilesRequest, context: Context
    ) -> pb.BatchGetProfilesResponse:
        """Return the profiles of several users."""
        requests = request.requests
        if not 1 <= len(requests) <= MAX_USERS:
            raise _users_invalid(f"requests has {len(requests)}; it must have 1 to {MAX_USERS}")
        subjects = []
        for index, one in enumerate(requests):
            subjects.append(read_subject(one, f"requests[{index}]."))
            if one.bundle_id != requests[0].bundle_id:
                raise _users_invalid(f"requests[{index}] names another bundle than the first")
        with self._bundles.held.asked_for(requests[0].bundle_id) as models:
            profiles = await self._profiles.get(subjects, models)
        answer = pb.BatchGetProfilesResponse()
        for profile, one in zip(profiles, requests, strict=True):
            # In bytes an answer to GetProfile is the same as one of a batch of one.
            answer.MergeFromString(_answer(profile, one, models.id))
        _leave_out_what_does_not_fit(answer)
        return answer

    async def ExplainProfile(
        self, request: pb.ExplainProfileRequest, context: Context
    ) -> pb.ExplainProfileResponse:
        """Say what the parts of a user's history do for an item."""
        subject = read_subject(request)
        with self._bundles.held.asked_for(request.bundle_id) as models:
            dimension = models.manifest.dimension
            vector = vector_from_proto(request.item_vector, dimension, models.id)
            found = await self._profiles.explain(subject, models, vector)
        return pb.ExplainProfileResponse() if found is None else _effects(found)

    async def RefreshProfiles(
        self, request: pb.RefreshProfilesRequest, context: Context
    ) -> AsyncIterator[pb.RefreshProfilesResponse]:
        """Report progress until what waits now has been covered."""
        if len(request.user_ids) > MAX_REFRESHED_USERS:
            raise InvalidArgument(
                "USERS_INVALID",
                f"user_ids has {len(request.user_ids)}; at most {MAX_REFRESHED_USERS} are taken",
                field="user_ids",
            )
        for index, user_id in enumerate(request.user_ids):
            check_user_id(user_id, f"user_ids[{index}]")
        refresh = self._profiles.refresh(
            request.user_ids, reads_histories=self._bundles.reads_histories
        )
        async with aclosing(refresh) as refreshed:
            async for progress in refreshed:
                yield pb.RefreshProfilesResponse(
                    num_users_left=progress.num_users_left, num_items_left=progress.num_items_left
                )


def _effects(found: Effects) -> pb.ExplainProfileResponse:
    best_events, best_chunks = (
        np.argsort(-values, kind="stable")[:MAX_EFFECTS].tolist()
        for values in (found.of_events, found.of_chunks)
    )
    return pb.ExplainProfileResponse(
        events=[
            pb.EventEffect(
                item_no=int(found.event_item_nos[n]),
                time=to_timestamp(int(found.event_times_us[n])),
                effect=found.of_events[n],
            )
            for n in best_events
        ],
        chunks=[
            pb.ChunkEffect(
                last_event_time=to_timestamp(int(found.chunk_times_us[n])),
                effect=found.of_chunks[n],
            )
            for n in best_chunks
        ],
        lineage=found.lineage,
    )


def _users_invalid(message: str) -> InvalidArgument:
    return InvalidArgument("USERS_INVALID", message, field="requests")


def _leave_out_what_does_not_fit(answer: pb.BatchGetProfilesResponse) -> None:
    """Drop the seen items of users, the last ones of a batch first, until the answer fits."""
    excess = answer.ByteSize() - (MAX_ANSWER_BYTES - REST_BYTES)
    for profile in reversed(answer.profiles):
        if excess <= 0:
            return
        seen = profile.seen
        if not seen.included:
            continue
        excess -= len(seen.item_nos) + len(seen.action_masks)
        seen.included = seen.truncated = False
        seen.since_version = 0
        seen.item_nos = seen.action_masks = b""


def _seen(profile: Profile, request: pb.GetProfileRequest) -> pb.SeenItems:
    """Return the seen items, without those that the caller holds."""
    items = profile.seen
    message = pb.SeenItems(version=profile.version, lineage=profile.lineage)
    known = _known_events(profile, request)
    if known == profile.last_sequence:
        return message
    known = known or 0
    message.included = True
    if request.accepts_seen_difference and 0 < known < profile.last_sequence:
        newer = items.after(known)
        if len(newer.item_nos) <= MAX_SEEN_ITEMS:
            items, message.since_version = newer, request.known_seen_version
    message.item_nos = pack_int64(items.item_nos[-MAX_SEEN_ITEMS:])
    message.action_masks = pack_uint32(items.action_masks[-MAX_SEEN_ITEMS:])
    message.truncated = len(items.item_nos) > MAX_SEEN_ITEMS
    return message


def _known_events(profile: Profile, request: pb.GetProfileRequest) -> int | None:
    """Return the last sequence of the seen items that the caller holds of this history."""
    if request.HasField("known_seen_version") and request.known_seen_lineage == profile.lineage:
        return profile.sequence_of(request.known_seen_version)
    return None


def _answer(profile: Profile, request: pb.GetProfileRequest, bundle_id: str) -> bytes:
    """Return a serialized GetProfileResponse."""
    holds_all = _known_events(profile, request) == profile.last_sequence
    kept = profile.kept_answer if holds_all else None
    if kept is not None and kept.message:
        return kept.message
    answer = pb.GetProfileResponse(profile=_profile(profile, request, bundle_id))
    message = answer.SerializeToString()
    if kept is not None:
        kept.message = message
    return message


def _profile(profile: Profile, request: pb.GetProfileRequest, bundle_id: str) -> pb.Profile:
    message = pb.Profile(
        num_covered_events=profile.num_events,
        num_events=profile.num_events,
        stale=profile.as_of_us is not None,
        text_pending=profile.text_pending,
        seen=_seen(profile, request),
        vector=Vector(bundle_id=bundle_id)
        if profile.vector is None
        else vector_to_proto(profile.vector, bundle_id),
    )
    if profile.last_event_us is not None:
        message.last_event_time.CopyFrom(to_timestamp(profile.last_event_us))
    if profile.covered_us is not None:
        message.covered_at.CopyFrom(to_timestamp(profile.covered_us))
    if profile.as_of_us is not None:
        message.as_of.CopyFrom(to_timestamp(profile.as_of_us))
    return message
