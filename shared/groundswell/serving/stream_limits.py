"""Bounds the streams that a process holds open, in all and of one peer."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from groundswell.serving import telemetry
from groundswell.serving.around import Around, CallInterceptor, Context, Handler, is_stream
from groundswell.serving.errors import ResourceExhausted

_RETRY_AFTER_S = 1.0
# Load balancers watch health: other streams must not use up the bound of these streams.
_OF_THE_SERVER = ("/grpc.health.", "/grpc.reflection.")


class StreamAdmissionInterceptor(CallInterceptor):
    """Refuses a stream while too many are open: of its peer, or of all peers together.

    A client may keep a stream open without a limit of time, and mostly it is idle. So streams do
    not count as calls in flight. Health and reflection streams are counted apart, with the same
    bounds.
    """

    def __init__(self, max_streams: int, max_streams_per_peer: int) -> None:
        super().__init__()
        self._services = StreamPlaces("services", max_streams, max_streams_per_peer)
        self._server = StreamPlaces("server", max_streams, max_streams_per_peer)

    def around(self, method: str, handler: Handler) -> Around | None:
        """Admit the streams alone."""
        if not is_stream(handler):
            return None
        places = self._server if method.startswith(_OF_THE_SERVER) else self._services
        return partial(_admitted, places)


@asynccontextmanager
async def _admitted(places: "StreamPlaces", context: Context) -> AsyncIterator[None]:
    with places.take(host_of(context.peer())):
        yield


class StreamPlaces:
    """Counts the open streams of one kind."""

    def __init__(self, kind: str, max_streams: int, max_streams_per_peer: int) -> None:
        self._kind = kind
        self._max_streams = max_streams
        self._max_streams_per_peer = max_streams_per_peer
        self._open: Counter[str] = Counter()

    @contextmanager
    def take(self, host: str) -> Iterator[None]:
        """Count an open stream. Raises ResourceExhausted (TOO_MANY_STREAMS) at a bound."""
        if self._open[host] >= self._max_streams_per_peer:
            raise self._refused(f"the peer has {self._max_streams_per_peer} streams open")
        if self._open.total() >= self._max_streams:
            raise self._refused(f"{self._max_streams} streams are open")
        self._open[host] += 1
        self._report()
        try:
            yield
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
            self._report()

    def _refused(self, what: str) -> ResourceExhausted:
        telemetry.count("streams_refused", kind=self._kind)
        return ResourceExhausted(
            "TOO_MANY_STREAMS", f"{what}, which is all it may", retry_after_s=_RETRY_AFTER_S
        )

    def _report(self) -> None:
        telemetry.gauge("streams", self._open.total(), kind=self._kind)


def host_of(peer: str) -> str:
    """The host of a peer as gRPC writes it (`ipv4:10.0.0.7:51234`), whatever its port."""
    kind, _, address = peer.partition(":")
    return address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else peer
