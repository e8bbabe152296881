"""Bounds the streams that a process holds open, in all and on one connection."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from groundswell.serving import telemetry
from groundswell.serving.errors import ResourceExhausted

_RETRY_AFTER_S = 1.0
# Load balancers watch health: other streams must not use up the bound of these streams.
_OF_THE_SERVER = ("/grpc.health.", "/grpc.reflection.")


class StreamLimits:
    """Refuses a stream while too many are open: on its connection, or on all of them.

    A client may keep a stream open without a limit of time, and mostly it is idle. So streams do
    not count as calls in flight. Health and reflection streams are counted apart, with the same
    bounds. A host is no measure of a client: many clients share one behind a proxy.
    """

    def __init__(self, max_streams: int, max_streams_per_peer: int) -> None:
        self._services = StreamPlaces("services", max_streams, max_streams_per_peer)
        self._server = StreamPlaces("server", max_streams, max_streams_per_peer)

    def places_of(self, method: str) -> "StreamPlaces":
        """Return the places that the streams of a method take."""
        return self._server if method.startswith(_OF_THE_SERVER) else self._services


class StreamPlaces:
    """Counts the open streams of one kind."""

    def __init__(self, kind: str, max_streams: int, max_streams_per_peer: int) -> None:
        self._kind = kind
        self._max_streams = max_streams
        self._max_streams_per_peer = max_streams_per_peer
        self._open: Counter[str] = Counter()

    @contextmanager
    def take(self, peer: str) -> Iterator[None]:
        """Count an open stream of a connection, which its peer's address and port name.

        Raises ResourceExhausted (TOO_MANY_STREAMS) at a bound.
        """
        if self._open[peer] >= self._max_streams_per_peer:
            raise self._refused(f"{self._max_streams_per_peer} are open on this connection")
        if self._open.total() >= self._max_streams:
            raise self._refused(f"{self._max_streams} are open in all")
        self._open[peer] += 1
        self._report()
        try:
            yield
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
            self._report()

    def _refused(self, what: str) -> ResourceExhausted:
        telemetry.count("streams_refused", kind=self._kind)
        return ResourceExhausted(
            "TOO_MANY_STREAMS", f"too many streams: {what}", retry_after_s=_RETRY_AFTER_S
        )

    def _report(self) -> None:
        telemetry.gauge("streams", self._open.total(), kind=self._kind)
