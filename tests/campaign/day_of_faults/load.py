"""Users who write and read all day, and the journal of what they were told."""

import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

from groundswell.client import GroundswellClient, GroundswellError, event
from groundswell.common.v1.event_pb2 import Event
from groundswell.ranker.v1.ranker_service_pb2 import Degradation, RecommendResponse
from tests.support.bundles import ITEMS

USERS = 10
SEED = 11

_EXCUSES = {
    # With one of these an answer says itself that a part of what was seen is not known to it.
    Degradation.DEGRADATION_PROFILE_UNAVAILABLE,
    Degradation.DEGRADATION_SEEN_INCOMPLETE,
}


class Journal:
    """The acknowledged events, on disk before the next call."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self.acknowledged: list[Event] = []
        self.sent: set[tuple[str, str]] = set()

    def send(self, event: Event) -> None:
        """Remember that an event may be stored from now on."""
        with self._lock:
            self.sent.add((event.user_id, event.item_id))

    def acknowledge(self, event: Event) -> None:
        """Remember that an event is stored."""
        with self._lock:
            self.acknowledged.append(event)
            self._file.write(json.dumps([event.user_id, event.event_id]) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def items_of(self, user: str) -> set[str]:
        """Return the items that a user may have bought."""
        with self._lock:
            return {item for owner, item in self.sent if owner == user}


class Load(threading.Thread):
    """One thread of users: each buys items of their own and asks what else there is.

    Every user has three items that they may buy, and buys them again and again. So an item that
    is missing in an answer of all items, but is not one of these three, was seen by somebody else.
    """

    def __init__(self, client: GroundswellClient, journal: Journal) -> None:
        super().__init__(name="load")
        self._client = client
        self._journal = journal
        self._stop_asked = threading.Event()
        self._random = random.Random(SEED)
        self._num_events = 0
        self.outcomes: Counter[str] = Counter()
        self.leaks: list[tuple[str, set[str]]] = []

    def run(self) -> None:
        """Write and read until told to stop."""
        pending: Event | None = None
        while not self._stop_asked.is_set():
            pending = self._write(pending or self._next_event())
            self._read(f"user-{self._random.randrange(USERS)}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End after the call in flight."""
        self._stop_asked.set()
        self.join()

    def take_outcomes(self) -> Counter[str]:
        """Return what happened since the last time this was asked."""
        taken, self.outcomes = self.outcomes, Counter()
        return taken

    def _next_event(self) -> Event:
        self._num_events += 1
        user = self._random.randrange(USERS)
        item_id = ITEMS[3 * user + self._random.randrange(3)][0]
        return event(f"user-{user}", item_id, "purchase", event_id=f"event-{self._num_events}")

    def _write(self, one: Event) -> Event | None:
        """Send an event; returns it when it has to be sent again."""
        self._journal.send(one)
        try:
            (result,) = self._client.record_events([one], timeout=2.0)
        except GroundswellError as error:
            self.outcomes[f"write {error.reason or error.status.name}"] += 1
            return one
        if result.reason:
            self.outcomes[f"write rejected {result.reason}"] += 1
            return one
        self._journal.acknowledge(one)
        self.outcomes["write"] += 1
        return None

    def _read(self, user: str) -> None:
        try:
            answer = self._client.recommend(user, page_size=len(ITEMS), timeout=2.0)
        except GroundswellError as error:
            self.outcomes[f"read {error.reason or error.status.name}"] += 1
            return
        self._check(user, answer)
        for degradation in answer.degradations:
            name = Degradation.Name(degradation).removeprefix("DEGRADATION_")
            if name != "PAGE_NOT_FILLED":
                self.outcomes[f"read {name}"] += 1
        self.outcomes["read"] += 1

    def _check(self, user: str, answer: RecommendResponse) -> None:
        given = {one.item_id for one in answer.recommendations}
        missing = {item_id for item_id, _, _ in ITEMS} - given
        if others := missing - self._journal.items_of(user):
            self.leaks.append((user, others))
