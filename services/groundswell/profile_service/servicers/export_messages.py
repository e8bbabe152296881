"""Converts what is exported of a user into messages."""

from collections.abc import Callable, Sequence
from typing import Any

from groundswell.profile.v1 import user_data_service_pb2 as pb
from groundswell.profile_service.rights.exports import ListWithIds, Part
from groundswell.profile_service.servicers.event import put_event
from groundswell.profile_service.store.erasures import Tombstone
from groundswell.profile_service.store.events import KnownEvent
from groundswell.serving.validation import to_timestamp


def part_message(part: Part) -> pb.ExportUserResponse:
    """Return the message of a part."""
    name, content = part
    return pb.ExportUserResponse(**{name: _OF_PART[name](content)})


def _user(row: Any) -> pb.ExportedUser:
    if row is None:
        return pb.ExportedUser()
    user = pb.ExportedUser(
        pseudonym=row.user_key.hex(),
        key_version=row.key_version,
        last_sequence=row.last_sequence,
        is_linked=row.linked_to is not None,
        waits_for_encoder=row.waits is not None,
    )
    if row.written_us is not None:
        user.last_written_at.CopyFrom(to_timestamp(row.written_us))
    return user


def _events(events: Sequence[KnownEvent]) -> pb.ExportedEvents:
    message = pb.ExportedEvents()
    for event in events:
        put_event(message.events.add(), event)
    return message


def _profile(row: Any) -> pb.ExportedProfile:
    return pb.ExportedProfile(
        fingerprint=row.fingerprint,
        chunk_length=row.chunk_length,
        covered_sequence=row.covered_sequence,
        covered_at=to_timestamp(row.covered_us),
        recent=row.recent or b"",
    )


def _chunk(row: Any) -> pb.ExportedChunk:
    return pb.ExportedChunk(
        fingerprint=row.fingerprint,
        chunk_length=row.chunk_length,
        chunk_no=row.chunk_no,
        last_event_time=to_timestamp(row.last_time_us),
        content_hash=row.content_hash,
        vector=row.vector,
    )


def _lists(lists: Sequence[ListWithIds]) -> pb.ExportedLists:
    return pb.ExportedLists(
        lists=[
            pb.ExportedList(
                recommendation_id=row.recommendation_id,
                bundle_id=row.bundle_id,
                variant=row.variant,
                fusion_weight=row.fusion_weight,
                item_ids=item_ids,
                confirmed=row.confirmed,
            )
            for row, item_ids in lists
        ]
    )


def _erasure(one: Tombstone) -> pb.ExportedErasure:
    return pb.ExportedErasure(erasure_id=one.erasure_id, erased_at=to_timestamp(one.erased_us))


_OF_PART: dict[str, Callable[[Any], Any]] = {
    "user": _user,
    "events": _events,
    "profile": _profile,
    "chunk": _chunk,
    "lists": _lists,
    "erasure": _erasure,
}
