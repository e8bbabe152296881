"""Serves UserDataService."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from groundswell.profile.v1 import user_data_service_pb2 as pb
from groundswell.profile.v1.user_data_service_pb2_grpc import UserDataServiceServicer
from groundswell.profile_service.rights.erasures import Erasures
from groundswell.profile_service.rights.exports import Exports
from groundswell.profile_service.servicers.export_messages import part_message
from groundswell.serving.around import Context
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.subjects import read_subject
from groundswell.serving.validation import to_timestamp


class UserDataServicer(UserDataServiceServicer):
    """The contract is in user_data_service.proto."""

    def __init__(self, erasures: Erasures, exports: Exports, checks: Sequence[str]) -> None:
        """Take the check values of the process's secrets, oldest first, besides what answers."""
        self._erasures = erasures
        self._exports = exports
        self._checks = checks

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: Context
    ) -> pb.EraseUserResponse:
        """Erase a user, or count what is held."""
        subject = read_subject(request)
        if request.count_only:
            counts = await self._erasures.count(subject)
            return pb.EraseUserResponse(stores=_stores(counts))
        receipt = await self._erasures.erase(subject)
        stored = receipt.stored
        answer = pb.EraseUserResponse(
            erasure_id=stored.erasure_id,
            erased_at=to_timestamp(stored.erased_us),
            stores=_stores({**stored.counts, "cached_profiles": receipt.num_cached}),
            kept_outside=receipt.kept_outside,
        )
        if stored.finished_us is not None:
            answer.finished_at.CopyFrom(to_timestamp(stored.finished_us))
        return answer

    async def ExportUser(
        self, request: pb.ExportUserRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserResponse]:
        """Send all that is held."""
        async with aclosing(self._exports.export(read_subject(request))) as parts:
            async for part in parts:
                yield part_message(part)

    async def WatchErasures(
        self, request: pb.WatchErasuresRequest, context: Context
    ) -> AsyncIterator[pb.WatchErasuresResponse]:
        """Follow erasures."""
        if request.since_revision < 0:
            message = f"since_revision {request.since_revision} is negative"
            raise InvalidArgument("REVISION_INVALID", message, field="since_revision")
        following = self._erasures.watch(request.since_revision, request.lineage)
        checks = self._checks
        async with aclosing(following) as watched:
            async for erased in watched:
                yield pb.WatchErasuresResponse(
                    marks=b"".join(erased.marks),
                    revision=erased.state.revision,
                    lineage=erased.state.lineage,
                    secret_checks=checks,
                )
                checks = ()


def _stores(counts: Mapping[str, int]) -> list[pb.StoreCount]:
    return [pb.StoreCount(store=name, num_rows=n) for name, n in sorted(counts.items())]
