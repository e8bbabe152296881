"""Around a swap every answer is complete and of one bundle, whichever replica lacks a bundle."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.client import Deadlines, GroundswellClient, Targets, event
from groundswell.ranker.v1.ranker_service_pb2 import RecommendResponse
from tests.integration.ranker_service.support import (
    CLICK,
    SERVICE,
    Ranker,
    degradations,
    number,
    ranker_client,
    ranker_process,
)
from tests.integration.ranker_service.support import item as scripted_item
from tests.support.bundles import ITEMS, serve
from tests.support.processes import Process, free_port, service_process
from tests.support.scripted import Scripted
from tests.support.suite import tiny_items
from tests.support.waiting import eventually


class Caller:
    """Asks for ann's items all the time, and keeps what it gets."""

    def __init__(self, client: GroundswellClient) -> None:
        self.answers: list[RecommendResponse] = []
        self.errors: list[Exception] = []
        self._client = client
        self._ends = threading.Event()

    def run(self) -> None:
        while not self._ends.is_set():
            try:
                self.answers.append(self._client.recommend("ann"))
            except Exception as error:  # noqa: BLE001 - the test says what went wrong
                self.errors.append(error)
            time.sleep(0.005)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Call in the background; then check that every answer was a full one."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()
        assert self.errors == []
        assert {kind for answer in self.answers for kind in degradations(answer)} == set()
        assert all(len(answer.recommendations) == 10 for answer in self.answers)

    def wait_for(self, holds: Callable[[RecommendResponse], bool], num: int = 20) -> None:
        """Wait until so many answers more were all as they should be."""
        eventually(
            lambda: len(self.answers) >= num and all(map(holds, self.answers[-num:])), timeout_s=30
        )


@pytest.fixture
def replicas(made: list[Path], tmp_path: Path) -> Iterator[tuple[Ranker, list[Scripted]]]:
    """A ranker over two scripted replicas of both services, which know one user."""
    serve(made[0], tmp_path / "bundles")
    bundle = load_bundle(made[0])
    both = [Scripted(), Scripted()]
    for one in both:
        one.checks_bundles = True
        for row in range(len(ITEMS)):
            one.put(scripted_item(row))
        one.hold(bundle.id, {number(row): v for row, v in enumerate(bundle.item_vectors)})
    addresses = [
        "ipv4:" + ",".join(one.addresses[name] for one in both) for name in ("profile", "session")
    ]
    process, address = ranker_process(tmp_path, tmp_path / "bundles", *addresses)
    try:
        with process, ranker_client(address) as client:
            process.wait_serving(address, SERVICE)
            ranker = Ranker(tmp_path / "bundles", bundle, both[0], process, address, client)
            profile = ranker.add_profile("ann", ranker.user_vector(), r1=CLICK)
            session = ranker.add_session("ann", ranker.user_vector(), r1=CLICK)
            both[1].profiles["ann"], both[1].sessions["ann"] = profile, session
            yield ranker, both
    finally:
        for one in both:
            one.stop()


def test_a_swap_waits_for_the_slowest_replica_and_no_answer_falls_short(
    replicas: tuple[Ranker, list[Scripted]], made: list[Path]
) -> None:
    ranker, (fast, slow) = replicas
    new = load_bundle(made[1])
    vectors = {number(row): v for row, v in enumerate(new.item_vectors)}
    caller = Caller(ranker.client)
    with caller.calling():
        serve(made[1], ranker.bundles)
        fast.hold(new.id, vectors)
        time.sleep(1.5)
        assert {answer.bundle_id for answer in caller.answers} == {ranker.bundle.id}
        slow.hold(new.id, vectors)
        caller.wait_for(lambda answer: answer.bundle_id == new.id)


def test_a_replica_without_the_bundle_is_passed_over_for_another_or_for_another_bundle(
    replicas: tuple[Ranker, list[Scripted]], made: list[Path]
) -> None:
    ranker, (one, other) = replicas
    new = load_bundle(made[1])
    for replica in (one, other):
        replica.hold(new.id, {number(row): v for row, v in enumerate(new.item_vectors)})
    serve(made[1], ranker.bundles)
    eventually(lambda: ranker.client.recommend("ann").bundle_id == new.id)
    caller = Caller(ranker.client)
    with caller.calling():
        for service in ("session", "profile"):
            other.loaded[service].remove(new.id)
            caller.wait_for(lambda answer: answer.bundle_id == new.id)
            one.loaded[service].remove(new.id)
            caller.wait_for(lambda answer: answer.bundle_id == ranker.bundle.id)
            one.loaded[service].append(new.id)
            other.loaded[service].append(new.id)
            caller.wait_for(lambda answer: answer.bundle_id == new.id)


def test_services_that_hold_another_loaded_bundle_alone_are_ranked_with_it(
    replicas: tuple[Ranker, list[Scripted]], made: list[Path]
) -> None:
    ranker, both = replicas
    new = load_bundle(made[1])
    serve(made[1], ranker.bundles)
    for replica in both:
        replica.hold(new.id, {number(row): v for row, v in enumerate(new.item_vectors)})
    eventually(lambda: new.id in ranker.client.model("ranker").loaded_bundle_ids)
    BundleStore(ranker.bundles).set_current(ranker.bundle.id)
    eventually(lambda: ranker.client.recommend("ann").bundle_id == ranker.bundle.id)
    caller = Caller(ranker.client)
    with caller.calling():
        for replica in both:
            replica.loaded["session"].remove(ranker.bundle.id)
        caller.wait_for(lambda answer: answer.bundle_id == new.id)


def test_without_any_bundle_in_common_the_answer_says_what_it_lacks(
    replicas: tuple[Ranker, list[Scripted]],
) -> None:
    ranker, both = replicas
    for replica in both:
        replica.loaded["session"].clear()
    answer = ranker.client.recommend("ann")
    assert degradations(answer) == {"SESSION_UNAVAILABLE"}
    assert answer.bundle_id == ranker.bundle.id


@contextmanager
def real_suite(
    folder: Path, bundle: Path
) -> Iterator[tuple[GroundswellClient, list[Path], list[Process]]]:
    """A real suite with two session services; every process follows a folder of its own."""
    roots = [folder / name for name in ("profile", "session-1", "session-2", "ranker")]
    for root in roots:
        serve(bundle, root)
    profile_port, *session_ports = free_port(), free_port(), free_port()
    profile_address = f"127.0.0.1:{profile_port}"
    database = {"GROUNDSWELL_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'groundswell.db'}"}
    processes = [
        service_process(
            "groundswell.profile_service", profile_port, roots[0], folder / "profile.log", database
        )
    ]
    for root, port in zip(roots[1:3], session_ports, strict=True):
        settings = {"GROUNDSWELL_PROFILE_ADDRESS": profile_address}
        log = folder / f"{root.name}.log"
        module = "groundswell.session_service"
        processes.append(service_process(module, port, root, log, settings))
    sessions = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in session_ports)
    start = {"GROUNDSWELL_START_WAIT_S": "30"}
    ranker, ranker_address = ranker_process(folder, roots[3], profile_address, sessions, **start)
    targets = Targets(profile=profile_address, session=sessions, ranker=ranker_address)
    with (
        GroundswellClient(targets, deadlines=Deadlines(read_s=10, write_s=10)) as client,
        processes[0],
        processes[1],
        processes[2],
        ranker,
    ):
        processes[0].wait_serving(profile_address)
        client.upsert_items(tiny_items())
        ranker.wait_serving(ranker_address, SERVICE)
        client.append_events([event("ann", f"item-{n}", event_id=str(n)) for n in range(5)])
        for _ in client.refresh_profiles():
            pass
        yield client, roots, [*processes, ranker]


def test_real_replicas_that_load_at_their_own_pace_leave_no_answer_short(
    tmp_path: Path, made: list[Path]
) -> None:
    with real_suite(tmp_path, made[0]) as (client, roots, _):
        eventually(lambda: not client.recommend("ann").degradations, timeout_s=30)
        caller = Caller(client)
        with caller.calling():
            for root in (roots[3], roots[0], roots[1]):
                serve(made[1], root)
            time.sleep(2.0)
            serve(made[1], roots[2])
            caller.wait_for(lambda answer: answer.bundle_id == made[1].name)
            for root in roots:
                BundleStore(root).set_current(made[0].name)
            caller.wait_for(lambda answer: answer.bundle_id == made[0].name)
