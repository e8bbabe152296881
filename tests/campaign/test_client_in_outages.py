"""A minute of outages: clients add little to the load of a service that fails, and recover at once.

Four clients call a server that answers, fails with UNAVAILABLE, or says that it is too busy, for
random times. What is counted is how many attempts reach it for each call that a client made.
"""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from groundswell.client import Deadlines, GroundswellError
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from groundswell.serving.errors import ResourceExhausted, Unavailable
from tests.support.recorder import Recorders, open_client

SEED = 3
SECONDS = 60.0
NUM_CLIENTS = 4
PAUSE_S = 0.02
FAULTS: dict[str, Exception | None] = {
    "answering": None,
    "down": Unavailable("NO_BUNDLE", "not yet"),
    "busy": ResourceExhausted("OVERLOADED", "busy", retry_after_s=0.05),
}


class Server:
    """A suite whose ranker is in one of the states, and counts what reaches it."""

    def __init__(self) -> None:
        self.suite = Recorders()
        self.state = "answering"
        self.attempts: Counter[str] = Counter()
        self.suite.ranker.answers["Recommend"] = self._answer

    def _answer(self, *_: Any) -> ranker_pb2.RecommendResponse:
        state = self.state
        self.attempts[state] += 1
        if (fault := FAULTS[state]) is not None:
            raise fault
        return ranker_pb2.RecommendResponse(bundle_id="b")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.suite.stop()


def _call(server: Server, kind: str, calls: Counter[str], stop: threading.Event) -> None:
    for client in open_client(kind, server.suite.targets, Deadlines(read_s=2)):
        while not stop.wait(PAUSE_S):
            calls[server.state] += 1
            try:
                client.recommend("anna")
                calls["answered"] += 1
            except GroundswellError as error:
                assert error.reason in ("NO_BUNDLE", "OVERLOADED")
                calls["failed"] += 1


def test_clients_add_little_to_an_outage_and_recover_at_once(server: Server) -> None:
    rng = random.Random(SEED)
    calls: list[Counter[str]] = [Counter() for _ in range(NUM_CLIENTS)]
    stop = threading.Event()
    threads = [
        threading.Thread(target=_call, args=(server, ("sync", "aio")[n % 2], calls[n], stop))
        for n in range(NUM_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    recoveries: list[float] = []
    while time.monotonic() < end:
        server.state = rng.choice(["down", "busy"])
        time.sleep(rng.uniform(1, 6))
        answered = sum(one["answered"] for one in calls)
        server.state, begin = "answering", time.monotonic()
        while sum(one["answered"] for one in calls) == answered:
            time.sleep(0.005)
        recoveries.append(time.monotonic() - begin)
        time.sleep(rng.uniform(0.5, 2))
    stop.set()
    for thread in threads:
        thread.join()
    total: Counter[str] = sum(calls, Counter())
    lines = [f"{state:10}{total[state]:8}{server.attempts[state]:9}" for state in FAULTS]
    sys.stdout.write("\n".join(["", f"{'state':10}{'calls':>8}{'attempts':>9}", *lines, ""]))
    sys.stdout.write(f"first answer after an outage: {max(recoveries):.2f} s at the latest\n")
    in_outages = sum(server.attempts[state] for state in ("down", "busy"))
    assert in_outages <= 1.5 * (total["down"] + total["busy"])
    assert server.attempts["answering"] <= 1.1 * total["answering"] + 4 * len(recoveries)
    assert max(recoveries) < 2.0
