"""A ranker process over scripted upstreams, and helpers of its tests."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.store import load_bundle
from groundswell.client import Deadlines, GroundswellClient, Targets
from groundswell.common.v1.item_pb2 import AttributeValue, Item
from groundswell.profile.v1.profile_service_pb2 import Profile, SeenItems
from groundswell.ranker.v1.ranker_service_pb2 import Degradation, RecommendResponse
from groundswell.serving.validation import to_timestamp
from groundswell.serving.vectors import pack_int64, pack_uint32
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse
from tests.support.bundles import ITEMS
from tests.support.processes import Process, free_port, service_process
from tests.support.scripted import Scripted, vector

NOW_US = 1_780_000_000_000_000
VIEW, CLICK = 1 << 1, 1 << 2
UPSTREAM_TIMEOUT_S = 1.5
SERVICE = "groundswell.ranker.v1.RankerService"


def number(row: int) -> int:
    """The item number of a row of the bundle: another one, so that nothing confuses the two."""
    return 1_000 + 3 * row


def item(row: int) -> Item:
    """An item of the bundle as the catalogue gives it; its price is its row."""
    item_id, title, categories = ITEMS[row]
    return Item(
        item_id=item_id,
        item_no=number(row),
        title=title,
        categories=categories,
        attributes={"price": AttributeValue(number=float(row))},
    )


@dataclass
class Ranker:
    """The process, what it asks, and a client of it."""

    bundles: Path
    bundle: Bundle
    scripted: Scripted
    process: Process
    address: str
    client: GroundswellClient
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def user_vector(self) -> NDArray[np.float32]:
        """A random vector of a user: its last dimension meets the items' popularity."""
        made = self.rng.standard_normal(self.bundle.manifest.dimension).astype(np.float32)
        made[-1] = 1.0
        return made

    def add_profile(
        self, user_id: str, long: NDArray[np.float32] | None, *, num_events: int = 7, **seen: int
    ) -> Profile:
        """Give a user a profile; `seen` names rows (r5) and their action masks."""
        rows = [int(name[1:]) for name in seen]
        profile = Profile(
            vector=None if long is None else vector(long, self.bundle.id),
            num_covered_events=num_events,
            num_events=num_events,
            last_event_time=to_timestamp(NOW_US - 90_000_000),
            seen=SeenItems(
                version=next(self.versions),
                included=True,
                item_nos=pack_int64([number(row) for row in rows]),
                action_masks=pack_uint32(list(seen.values())),
            ),
        )
        self.scripted.profiles[user_id] = profile
        return profile

    def add_session(
        self, user_id: str, short: NDArray[np.float32], **seen: int
    ) -> EncodeSessionResponse:
        """Give a user a session; `seen` as above."""
        rows = [int(name[1:]) for name in seen]
        session = EncodeSessionResponse(
            vector=vector(short, self.bundle.id),
            num_window_events=5,
            num_session_events=3,
            last_event_time=to_timestamp(NOW_US - 30_000_000),
            last_sequence=7,
            item_nos=pack_int64([number(row) for row in rows]),
            action_masks=pack_uint32(list(seen.values())),
        )
        self.scripted.sessions[user_id] = session
        return session


def ranker_process(
    folder: Path, bundles: Path, profile: str, session: str, **settings: str
) -> tuple[Process, str]:
    """A ranker that is not started yet, and its address."""
    port = free_port()
    environment = {
        "GROUNDSWELL_PROFILE_ADDRESS": profile,
        "GROUNDSWELL_SESSION_ADDRESS": session,
        "GROUNDSWELL_UPSTREAM_TIMEOUT_S": str(UPSTREAM_TIMEOUT_S),
        "GROUNDSWELL_START_WAIT_S": "1",
        **settings,
    }
    module = "groundswell.ranker_service"
    process = service_process(module, port, bundles, folder / "ranker.log", environment)
    return process, f"127.0.0.1:{port}"


def ranker_client(address: str, profile: str = "127.0.0.1:1") -> GroundswellClient:
    """A client that waits long enough for the slowest test machine."""
    targets = Targets(profile=profile, session="127.0.0.1:1", ranker=address)
    return GroundswellClient(targets, deadlines=Deadlines(read_s=10, write_s=10))


@contextmanager
def scripted_ranker(folder: Path, bundles: Path, **settings: str) -> Iterator[Ranker]:
    """A serving ranker whose catalogue is the tiny bundle's items."""
    scripted = Scripted()
    bundle = load_bundle(bundles)
    for row in range(len(ITEMS)):
        scripted.put(item(row))
    scripted.hold(bundle.id, {number(row): v for row, v in enumerate(bundle.item_vectors)})
    process, address = ranker_process(
        folder, bundles, scripted.addresses["profile"], scripted.addresses["session"], **settings
    )
    try:
        with process, ranker_client(address) as client:
            process.wait_serving(address, SERVICE)
            yield Ranker(bundles, bundle, scripted, process, address, client)
    finally:
        scripted.stop()


def ids(answer: RecommendResponse) -> list[str]:
    """The items, best first."""
    return [one.item_id for one in answer.recommendations]


def degradations(answer: RecommendResponse) -> set[str]:
    """How an answer falls short."""
    return {Degradation.Name(kind).removeprefix("DEGRADATION_") for kind in answer.degradations}
