"""The aio client's calls about what is held of a person."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc

from groundswell.client.aio.calls import AsyncThrottledCalls, stream
from groundswell.client.channels import Deadlines
from groundswell.profile.v1 import user_data_service_pb2 as user_data_pb2
from groundswell.profile.v1.user_data_service_pb2_grpc import UserDataServiceStub


class AsyncUserDataCalls:
    """The part of AsyncGroundswellClient that UserDataService answers."""

    def __init__(
        self, channel: grpc.aio.Channel, call: AsyncThrottledCalls, deadlines: Deadlines
    ) -> None:
        self._call = call
        self._deadlines = deadlines
        self._user_data = UserDataServiceStub(channel)

    async def erase_user(
        self,
        user_id: str = "",
        *,
        session_id: str = "",
        count_only: bool = False,
        timeout: float | None = None,
    ) -> user_data_pb2.EraseUserResponse:
        """Erase a user or an anonymous session, and return the receipt; safe to call again.

        With `count_only` nothing is erased: the answer says how much there is.
        """
        request = user_data_pb2.EraseUserRequest(
            user_id=user_id, session_id=session_id, count_only=count_only
        )
        return await self._call(self._user_data.EraseUser, request, timeout, self._deadlines.bulk_s)

    async def export_user(
        self, user_id: str = "", *, session_id: str = "", timeout: float | None = None
    ) -> AsyncIterator[user_data_pb2.ExportUserResponse]:
        """Everything that is held of a user or an anonymous session, part by part."""
        request = user_data_pb2.ExportUserRequest(user_id=user_id, session_id=session_id)
        timeout = self._deadlines.bulk_s if timeout is None else timeout
        start = partial(self._user_data.ExportUser, request, timeout=timeout)
        async with aclosing(stream(start)) as parts:
            async for part in parts:
                yield part
