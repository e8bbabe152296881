"""Servers that remember what they were asked and answer as a test says; both kinds of clients."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from groundswell.client import AsyncGroundswellClient, Deadlines, GroundswellClient, Targets
from groundswell.serving.errors import ServiceError, status_code, to_status, trailers

Answer = Callable[[Any, grpc.ServicerContext], Any]


class Recorder(grpc.GenericRpcHandler):
    """A server of every method of the contracts: an empty answer, unless `answers` has another."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.remaining_s: list[float] = []
        self.answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def asked(self, method: str) -> list[Any]:
        """The requests of one method, in their order."""
        with self._lock:
            return [request for name, request in self.requests if name == method]

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        _, service, name = details.method.split("/")
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        response = message_factory.GetMessageClass(method.output_type)
        request = message_factory.GetMessageClass(method.input_type)

        def answer(asked: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self.remaining_s.append(context.time_remaining() or float("inf"))
                if not method.client_streaming:
                    self.requests.append((name, asked))
            try:
                if name in self.answers:
                    return self.answers[name](asked, context)
                return () if method.server_streaming else response()
            except ServiceError as error:
                end(context, error)

        def stream(asked: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            try:
                yield from answer(asked, context)
            except ServiceError as error:
                end(context, error)

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        behaviour = stream if method.server_streaming else answer
        return make(behaviour, request.FromString, response.SerializeToString)

    def record(self, name: str, request: Any) -> None:
        """For an answer that reads a stream of requests itself."""
        with self._lock:
            self.requests.append((name, request))


def end(context: grpc.ServicerContext, error: ServiceError) -> None:
    """End a call as the servers of the suite do."""
    status = to_status(error)
    context.set_trailing_metadata(trailers(error, status, context.time_remaining()))
    context.abort(status_code(error), status.message)


class Blocking:
    """The aio client as if it were the sync one, so that one suite runs against both."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: AsyncGroundswellClient) -> None:
        self._loop = loop
        self._client = client

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            started = getattr(self._client, name)(*arguments, **named)
            if inspect.isasyncgen(started):
                return self._iterate(started)
            return self._loop.run_until_complete(started)

        return call

    def _iterate(self, answers: Any) -> Iterable[Any]:
        try:
            while True:
                try:
                    answer = self._loop.run_until_complete(anext(answers))
                except StopAsyncIteration:
                    return
                yield answer
        finally:
            self._loop.run_until_complete(answers.aclose())


def failing(error: Exception) -> Any:
    """An answer that is always this error."""

    def answer(*_: Any) -> Any:
        raise error

    return answer


class Recorders:
    """One recording server in the place of each service."""

    def __init__(self) -> None:
        self.ranker, self.session, self.profile = Recorder(), Recorder(), Recorder()
        self.targets = Targets(
            ranker=self.ranker.address, session=self.session.address, profile=self.profile.address
        )

    def stop(self) -> None:
        for recorder in (self.ranker, self.session, self.profile):
            recorder.stop()


def open_client(kind: str, targets: Targets, deadlines: Deadlines) -> Iterator[Any]:
    """A client of one kind, sync in its use."""
    if kind == "sync":
        with GroundswellClient(targets, deadlines=deadlines) as client:
            yield client
        return
    loop = asyncio.new_event_loop()

    async def make() -> AsyncGroundswellClient:
        return AsyncGroundswellClient(targets, deadlines=deadlines)

    made = loop.run_until_complete(make())
    yield Blocking(loop, made)
    loop.run_until_complete(made.close())
    loop.close()
