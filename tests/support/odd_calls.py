"""Sends odd requests to every method of a running suite, and says what no service may answer."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from groundswell.client.errors import GroundswellError, from_rpc_error
from tests.support.odd_messages import KNOWN, requests, spoil
from tests.support.processes import rss_bytes
from tests.support.suite import Suite, tiny_items

_PROTOS = Path(__file__).resolve().parents[2] / "protos"
_SERVERS = ("profile", "session", "ranker")
_TIMEOUT_S = 30.0
_WATCH_TIMEOUT_S = 0.1
"""Streams that wait for changes end with it."""
_NUM_SPOILED = 3
NUM_INPUTS = 1 + _NUM_SPOILED
"""How many calls one drawn request makes."""
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Method(NamedTuple):
    """A method at one of the servers that have it."""

    server: str
    descriptor: MethodDescriptor

    @property
    def path(self) -> str:
        """Its name on the wire."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def waits(self) -> bool:
        """Whether its stream waits for changes, and never ends by itself."""
        return self.descriptor.name.startswith("Watch")


def methods() -> Iterator[Method]:
    """Every method of the contracts, at every server that has it."""
    for path in sorted(_PROTOS.glob("groundswell/**/*_service.proto")):
        name = str(path.relative_to(_PROTOS))
        __import__(name.replace("/", ".").removesuffix(".proto") + "_pb2")
        for service in Default().FindFileByName(name).services_by_name.values():
            area = service.full_name.split(".")[1]
            for server in (area,) if area in _SERVERS else _SERVERS:
                yield from (Method(server, method) for method in service.methods)


class OddCalls:
    """Calls a running suite, and keeps what was wrong with its answers."""

    def __init__(self, suite: Suite) -> None:
        self.outcomes: Counter[str] = Counter()
        """How many calls ended with each status."""
        self.answered: Counter[str] = Counter()
        """How many calls of each method were answered."""
        self.wrong: dict[str, str] = {}
        """What no service may answer, with the first request that brought it about."""
        self._suite = suite
        options = [("grpc.max_receive_message_length", -1)]
        self._channels = {n: grpc.insecure_channel(suite.addresses[n], options) for n in _SERVERS}
        answer = suite.client.recommend("user-1", page_size=2)
        self._known = {
            **KNOWN,
            "bundle_id": ["", answer.bundle_id],
            "attribution_token": ["", answer.attribution_token],
        }

    def send(self, num_examples: int, each: Callable[[int], None] = lambda _: None) -> None:
        """Send so many requests of all methods, and spoiled copies of each; always the same.

        `each` is told after each request how many there were.
        """
        all_methods, numbers = list(methods()), itertools.count(1)

        @settings(
            max_examples=num_examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data(), st.sampled_from(all_methods), st.integers(0, 2**32))
        def one(data: st.DataObject, method: Method, seed: int) -> None:
            any_request = requests(method.descriptor.input_type, self._known)
            most = 3 if method.descriptor.client_streaming else 1
            self._send(method, data.draw(st.lists(any_request, min_size=1, max_size=most)), seed)
            each(next(numbers))

        one()

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of memory that each process has."""
        return {name: rss_bytes(one.popen.pid) for name, one in self._suite.processes.items()}

    def assert_all_is_well(self) -> None:
        """Raise AssertionError unless every answer was right, and good calls are answered still."""
        assert self.wrong == {}
        for name, process in self._suite.processes.items():
            assert process.is_running, name
            assert "call_failed" not in process.log(), name
        self._suite.client.upsert_items(tiny_items())
        assert self._suite.client.recommend("nobody").recommendations

    def _send(self, method: Method, sent: Sequence[Message], seed: int) -> None:
        rng = random.Random(seed)
        whole = [message.SerializeToString() for message in sent]
        tries = [whole, *([spoil(one, rng) for one in whole] for _ in range(_NUM_SPOILED))]
        calls = [(one, self._start(method, one)) for one in tries]
        for one, call in calls:
            problem = self._problem(method, call)
            if problem:
                self.wrong.setdefault(f"{method.server} {method.path} {problem}", repr(one)[:2_000])

    def _start(self, method: Method, sent: Sequence[bytes]) -> Any:
        channel: Any = self._channels[method.server]
        timeout = _WATCH_TIMEOUT_S if method.waits else _TIMEOUT_S
        if method.descriptor.client_streaming:
            return channel.stream_stream(method.path)(iter(sent), timeout=timeout)
        if method.descriptor.server_streaming:
            return channel.unary_stream(method.path)(sent[0], timeout=timeout)
        return channel.unary_unary(method.path).future(sent[0], timeout=timeout)

    def _problem(self, method: Method, call: Any) -> str:
        """What is wrong with the answer to a call; empty when nothing is."""
        answers = []
        try:
            for one in call if method.descriptor.server_streaming else (call.result(),):
                answers.append(one)
        except grpc.RpcError as error:
            problem = _refusal_problem(method, from_rpc_error(error))
        else:
            problem = ""
            self.answered[method.path] += 1
        self.outcomes[call.code().name] += 1
        type_ = GetMessageClass(method.descriptor.output_type)
        odd = {name for one in answers for name in _not_finite(type_.FromString(one))}
        return f"answered numbers that are not finite: {odd}" if odd else problem


def _refusal_problem(method: Method, error: GroundswellError) -> str:
    if method.waits and error.status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ""
    if error.status not in _REFUSALS:
        return f"ended with {error.status.name}: {error.message}"
    return "" if error.reason else f"gave no reason: {error.message}"


def _not_finite(message: Message) -> Iterator[str]:
    """The names of the fields whose numbers are not finite."""
    for field, value in message.ListFields():
        if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            many = value if field.is_repeated else [value]
            yield from (field.name for one in many if not math.isfinite(one))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                yield from _not_finite(one)
