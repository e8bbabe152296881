"""What the session service asks the profile service for."""

from unittest.mock import AsyncMock, Mock

from groundswell.profile.v1.event_service_pb2 import ListEventsResponse
from groundswell.session_service.profile_client import EventLogClient


async def test_the_clock_of_the_session_service_hides_no_event() -> None:
    """A service whose clock is days behind would ask for old events alone."""
    call = AsyncMock(return_value=ListEventsResponse())
    channel = Mock(unary_unary=Mock(return_value=call))
    log = EventLogClient(channel, append_timeout_s=1.0, list_timeout_s=1.0)
    await log.newest("ann", 51)
    (request,) = call.await_args_list[0].args
    assert not request.HasField("before")
    assert request.omit_future
