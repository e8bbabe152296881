"""Two session services over one Valkey, and what every answer of theirs must hold."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from groundswell.client import GroundswellClient, GroundswellError, Targets, event
from groundswell.common.v1.event_pb2 import EVENT_STATUS_ACCEPTED
from tests.support.bundles import ITEMS
from tests.support.processes import free_port, service_process
from tests.support.suite import Suite
from tests.support.valkey import Valkey


@dataclass(frozen=True)
class Replicas:
    """The suite of the first one, and a client of each."""

    suite: Suite
    clients: tuple[GroundswellClient, GroundswellClient]


@contextmanager
def replicas(folder: Path, bundles: Path, valkey: Valkey) -> Iterator[Replicas]:
    """Start a profile service and two session services, with the items of the tiny bundle."""
    shared = {
        "GROUNDSWELL_WINDOWS_URL": valkey.url,
        "GROUNDSWELL_REPLICAS": "2",
        # A machine that runs tests is slow.
        "GROUNDSWELL_WINDOWS_TIMEOUT_S": "2",
    }
    suite = Suite(folder, bundles, ("profile", "session"), settings={"session": shared})
    with suite:
        suite.fill()
        port = free_port()
        known: Mapping[str, str] = {
            **shared,
            "GROUNDSWELL_PROFILE_ADDRESS": suite.targets.profile,
        }
        log = folder / "other.log"
        targets = Targets(profile=suite.targets.profile, session=f"127.0.0.1:{port}")
        with (
            service_process("groundswell.session_service", port, bundles, log, known) as other,
            GroundswellClient(targets) as client,
        ):
            other.wait_serving(targets.session, timeout=60.0)
            yield Replicas(suite, (suite.client, client))


def write_and_read(
    running: Replicas,
    name: str,
    num_events: int,
    *,
    before: Callable[[int], object] = lambda _: None,
) -> int:
    """Record events of a few users through one replica each, and read through the other one.

    The users are named after `name`. Asserts that each event that was acknowledged is the newest
    one of the next answer, unless that answer says that it is stale, and that all are stored in the
    end. `before` is called with the number of each event. Returns how many answers were flagged, or
    refused.
    """
    choice = random.Random(5)
    stored: dict[str, list[str]] = {f"{name}-{n}": [] for n in range(7)}
    item_nos = {one.item_id: one.item_no for one in running.suite.client.list_items()}
    num_flagged = 0
    for number in range(num_events):
        before(number)
        writer, reader = choice.sample(running.clients, 2)
        user, item_id = choice.choice(list(stored)), choice.choice(ITEMS)[0]
        sent = event(user, item_id, "click", event_id=f"e{number}")
        (result,) = writer.record_events([sent])
        assert result.status == EVENT_STATUS_ACCEPTED
        stored[user].append(sent.event_id)
        try:
            answer = reader.encode_session(user)
        except GroundswellError:
            num_flagged += 1
            continue
        num_flagged += answer.stale
        if not answer.stale:
            assert np.frombuffer(answer.item_nos, "<i8")[-1] == item_nos[item_id], number
            assert answer.last_sequence == len(stored[user]), number
    for user, event_ids in stored.items():
        listed = [one.event.event_id for one in running.clients[0].list_events(user)]
        assert listed[::-1] == event_ids
    return num_flagged
