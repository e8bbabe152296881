"""Open streams are bounded in all and per host; an ended stream no longer counts."""

from contextlib import ExitStack

import pytest

from groundswell.serving.errors import ResourceExhausted
from groundswell.serving.stream_limits import StreamPlaces, host_of


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.7:51234", "10.0.0.7"),
        ("ipv6:%5B::1%5D:51234", "%5B::1%5D"),
        ("unix:/run/x:1", "unix:/run/x:1"),
        ("unix:", "unix:"),
    ],
)
def test_connections_of_one_host_count_together(peer: str, host: str) -> None:
    assert host_of(peer) == host


def test_one_host_cannot_take_the_places_of_another() -> None:
    places = StreamPlaces("services", max_streams=3, max_streams_per_peer=2)
    with ExitStack() as held:
        held.enter_context(places.take("a"))
        with places.take("a"):
            with (
                pytest.raises(ResourceExhausted, match="the peer has 2") as refused,
                places.take("a"),
            ):
                pass
            assert refused.value.reason == "TOO_MANY_STREAMS"
            assert refused.value.retry_after_s is not None
            with places.take("b"), pytest.raises(ResourceExhausted, match="3 streams"):
                held.enter_context(places.take("c"))
        with places.take("a"), places.take("b"):
            pass
