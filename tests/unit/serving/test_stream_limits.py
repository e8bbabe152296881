"""Open streams are bounded in all and per connection; an ended stream no longer counts."""

from contextlib import AbstractContextManager, ExitStack

import pytest

from groundswell.serving.errors import ResourceExhausted
from groundswell.serving.stream_limits import StreamLimits, StreamPlaces


def test_one_connection_cannot_take_the_places_of_another() -> None:
    places = StreamPlaces("services", max_streams=3, max_streams_per_peer=2)
    with ExitStack() as held:
        held.enter_context(places.take("a"))
        with places.take("a"):
            with (
                pytest.raises(ResourceExhausted, match="2 are open on this connection") as refused,
                places.take("a"),
            ):
                pass
            assert refused.value.reason == "TOO_MANY_STREAMS"
            assert refused.value.retry_after_s is not None
            with places.take("b"), pytest.raises(ResourceExhausted, match="3 are open in all"):
                held.enter_context(places.take("c"))
        with places.take("a"), places.take("b"):
            pass


def test_the_streams_of_one_client_do_not_keep_others_on_its_host_out() -> None:
    """Behind a proxy, all clients have one address."""
    places = StreamLimits(max_streams=4, max_streams_per_peer=2).places_of("/package.Service/Watch")

    def stream(port: int) -> AbstractContextManager[None]:
        return places.take(f"ipv4:10.0.0.7:{port}")

    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(stream(50_001))
        with pytest.raises(ResourceExhausted):
            held.enter_context(stream(50_001))
        held.enter_context(stream(50_002))
