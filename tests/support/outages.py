"""Kills the services that a ranker asks, and measures what its callers get meanwhile."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from groundswell.client import GroundswellError, event
from groundswell.ranker.v1.ranker_service_pb2 import Degradation
from tests.support.bundles import ITEMS
from tests.support.suite import Suite
from tests.support.waiting import eventually

FLAGS = {
    "profile": {
        Degradation.DEGRADATION_PROFILE_STALE,
        Degradation.DEGRADATION_PROFILE_UNAVAILABLE,
    },
    "session": {
        Degradation.DEGRADATION_SESSION_STALE,
        Degradation.DEGRADATION_SESSION_UNAVAILABLE,
    },
}
"""What says that a service did not answer."""
USERS = [f"user-{n}" for n in range(20)]
"""Users with events; the same number of strangers is asked for, too."""


@dataclass
class Calls:
    """What came of some calls."""

    num_failed: int = 0
    num_unflagged: int = 0
    """Answers that do not say which service was down."""
    times_s: list[float] = field(default_factory=list)

    def p(self, percent: float) -> float:
        """A percentile of the time of an answer, in seconds."""
        return float(np.percentile(self.times_s, percent))


@dataclass
class Outage:
    """The calls before the services were killed, until the breakers were open, and afterwards."""

    before: Calls
    opening: Calls
    during: Calls

    @property
    def answered(self) -> float:
        """The share of the calls without the services that were answered."""
        calls = (self.opening, self.during)
        failed, answered = (sum(c.num_failed for c in calls), sum(len(c.times_s) for c in calls))
        return answered / (answered + failed)


def fill(suite: Suite) -> None:
    """Write the items, and some events of each user."""
    suite.fill()
    rng = random.Random(0)
    rows = [(user, rng.randrange(len(ITEMS)), n) for user in USERS for n in range(6)]
    suite.client.record_events(
        [event(user, ITEMS[row][0], "click", event_id=f"{n}") for user, row, n in rows]
    )
    suite.refresh()


def outage(suite: Suite, names: Sequence[str], *, num_calls: int, seed: int) -> Outage:
    """Kill services and start them again, with calls of users, strangers and filters all along."""
    rng = random.Random(seed)
    for user in USERS:  # so that what they have is known
        suite.client.recommend(user)
    before = _ask(suite, rng, num_calls, ())
    for name in names:
        suite.processes[name].kill()
    opening = _ask(suite, rng, 20, names)
    during = _ask(suite, rng, num_calls, names)
    for name in names:
        suite.start(name)
    eventually(lambda: not suite.client.recommend(USERS[0]).degradations, timeout_s=30)
    return Outage(before, opening, during)


def _ask(suite: Suite, rng: random.Random, num_calls: int, down: Sequence[str]) -> Calls:
    calls = Calls()
    for _ in range(num_calls):
        user = rng.choice([*USERS, f"stranger-{rng.randrange(len(USERS))}"])
        where = rng.choice(["", "", "price < 15"])
        began = time.perf_counter()
        try:
            answer = suite.client.recommend(user, page_size=5, filter=where)
        except GroundswellError:
            calls.num_failed += 1
            continue
        calls.times_s.append(time.perf_counter() - began)
        said = set(answer.degradations)
        is_whole = len(answer.recommendations) == 5
        calls.num_unflagged += not (is_whole and all(said & FLAGS[name] for name in down))
    return calls
