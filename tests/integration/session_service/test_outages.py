"""The session service while the profile service is away, slow, or not started yet."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundswell.artifacts.store import BundleStore
from groundswell.client import GroundswellClient, GroundswellError, Targets, item
from groundswell.session.v1.session_service_pb2 import (
    EncodeSessionRequest,
    EncodeSessionResponse,
    RecordEventsRequest,
)
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.integration.session_service.conftest import (
    APPEND_TIMEOUT_S,
    LIST_TIMEOUT_S,
    make_suite,
)
from tests.integration.session_service.support import at, item_nos, vector
from tests.support.bundles import own_copy, tiny_bundle
from tests.support.processes import free_port, service_process
from tests.support.scripted import Scripted
from tests.support.suite import Suite
from tests.support.waiting import eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def refused(
    call: "grpc.UnaryUnaryMultiCallable[Any, Any]", request: object
) -> tuple[grpc.StatusCode, float]:
    """The status of a call that fails, and how long it took. No client retries here."""
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), time.monotonic() - started


def test_without_the_profile_service_writes_are_refused_and_held_windows_served(
    suite: Suite,
) -> None:
    suite.client.record_events([at("olga", n, row=n) for n in range(3)])
    before = suite.client.encode_session("olga")
    suite.profile.kill()
    with grpc.insecure_channel(suite.targets.session) as channel:
        stub = SessionServiceStub(channel)
        status, took_s = refused(stub.RecordEvents, RecordEventsRequest(events=[at("olga", 9)]))
        assert status == grpc.StatusCode.UNAVAILABLE
        assert took_s < 0.5
        assert not before.stale
        assert as_before(
            stub.EncodeSession(EncodeSessionRequest(user_id="olga"), timeout=5), before
        )
        status, took_s = refused(stub.EncodeSession, EncodeSessionRequest(user_id="stranger"))
        assert status == grpc.StatusCode.UNAVAILABLE
        assert took_s < 0.5
        visitor = suite.client.encode_session(events=[at("", 0, row=0, event_id="")])
        assert visitor.num_window_events == 1
    with pytest.raises(GroundswellError) as caught:
        suite.client.record_events([at("olga", 9)], timeout=2)
    assert caught.value.reason == "PROFILE_UNAVAILABLE"

    suite.start("profile")
    eventually(lambda: works(suite))
    assert next(s.event.event_id for s in suite.client.list_events("olga")) == "10-4"
    assert len(item_nos(suite.client.encode_session("olga"))) == 4


def as_before(answer: EncodeSessionResponse, before: EncodeSessionResponse) -> bool:
    """Whether an answer is what was answered before, and says that it is stale, and how much."""
    assert answer.stale
    assert 0 < answer.window_age.ToTimedelta().total_seconds() < 60
    answer.ClearField("stale")
    answer.ClearField("window_age")
    return answer == before


def works(suite: Suite) -> bool:
    try:
        suite.client.record_events([at("olga", 10, row=4)])
    except GroundswellError:
        return False
    return True


def test_the_catalogue_is_followed_again_after_the_profile_service_was_killed(
    suite: Suite,
) -> None:
    suite.profile.kill()
    suite.start("profile")
    suite.client.upsert_items([item("after-the-kill", "Golden Soldier Returns")])
    eventually(lambda: knows(suite, "after-the-kill"))
    suite.client.delete_items(["after-the-kill"])
    eventually(lambda: not knows(suite, "after-the-kill"))


def knows(suite: Suite, item_id: str) -> bool:
    event = at("", 0, event_id="")
    event.item_id = item_id
    try:
        suite.client.encode_session(events=[event])
    except GroundswellError as error:
        assert error.reason == "ITEM_NOT_FOUND"
        return False
    return True


def test_a_profile_service_that_hangs_costs_no_more_than_the_deadlines(suite: Suite) -> None:
    suite.client.record_events([at("hank", n, row=n) for n in range(3)])
    before = suite.client.encode_session("hank")
    os.kill(suite.profile.popen.pid, signal.SIGSTOP)
    try:
        with grpc.insecure_channel(suite.targets.session) as channel:
            stub = SessionServiceStub(channel)
            request = RecordEventsRequest(events=[at("hank", 9)])
            status, took_s = refused(stub.RecordEvents, request)
            assert status == grpc.StatusCode.UNAVAILABLE
            assert took_s < APPEND_TIMEOUT_S + 0.5
            # The outcome of the write is not known, so the log is asked, in vain.
            hank = EncodeSessionRequest(user_id="hank")
            assert as_before(stub.EncodeSession(hank, timeout=5), before)
            started = time.monotonic()
            for _ in range(5):
                assert as_before(stub.EncodeSession(hank, timeout=5), before)
            assert time.monotonic() - started < LIST_TIMEOUT_S
            status, took_s = refused(stub.EncodeSession, EncodeSessionRequest(user_id="stranger"))
            assert status == grpc.StatusCode.UNAVAILABLE
            assert took_s < LIST_TIMEOUT_S + 0.5
    finally:
        os.kill(suite.profile.popen.pid, signal.SIGCONT)
    eventually(lambda: len(list(suite.client.list_events("hank"))) in (3, 4))
    suite.client.record_events([at("hank", 9)])
    eventually(lambda: len(item_nos(suite.client.encode_session("hank"))) == 4)
    eventually(lambda: not suite.client.encode_session("hank").stale)


def test_a_new_item_counts_in_the_window_as_soon_as_it_has_its_vector(suite: Suite) -> None:
    suite.client.upsert_items([item("brand-new", "Burning Wedding", categories=("war",))])
    event = at("ida", 0)
    event.item_id = "brand-new"
    suite.client.record_events([event])
    suite.client.encode_session("ida")

    def as_fresh() -> bool:
        """Whether the stored vector is that of the same event read anew, and not of zeros."""
        if not knows(suite, "brand-new"):
            return False
        stored = vector(suite.client.encode_session("ida"))
        fresh = vector(suite.client.encode_session(events=[event]))
        return bool(np.abs(stored - fresh).max() < 1e-5 and np.abs(stored[:-1]).max() > 0.3)

    eventually(as_fresh)


def test_what_was_imported_behind_its_back_is_read_within_the_ttl(suite: Suite) -> None:
    assert suite.client.encode_session("imported").num_window_events == 0
    list(suite.client.import_events([at("imported", n) for n in range(3)]))
    eventually(lambda: suite.client.encode_session("imported").num_window_events == 3, 15)


def test_a_new_bundle_is_served_beside_the_old_one(suite: Suite) -> None:
    suite.client.record_events([at("bea", n, row=n) for n in range(3)])
    old = suite.client.encode_session("bea")
    tiny_bundle(suite.bundles, seed=1)
    eventually(lambda: len(suite.client.model("session").loaded_bundle_ids) == 2, 60)
    new = suite.client.encode_session("bea")
    assert new.vector.bundle_id == suite.client.model("session").model.bundle_id
    assert new.vector.bundle_id != old.vector.bundle_id
    assert not np.array_equal(vector(new), vector(old))
    assert suite.client.encode_session("bea", bundle_id=old.vector.bundle_id) == old


def test_health_waits_for_the_items_and_the_service_for_the_profile_service(
    tmp_path: Path, bundles: Path
) -> None:
    suite = make_suite(tmp_path, bundles)
    with suite.client, suite.session:
        with grpc.insecure_channel(suite.targets.session) as channel, ExitStack() as later:
            health = health_pb2_grpc.HealthStub(channel)
            stub = SessionServiceStub(channel)
            request = health_pb2.HealthCheckRequest(service="groundswell.session.v1.SessionService")
            check = health.Check(request, timeout=10, wait_for_ready=True)
            assert check.status == NOT_SERVING
            user = EncodeSessionRequest(user_id="early")
            assert refused(stub.EncodeSession, user)[0] == grpc.StatusCode.UNAVAILABLE
            later.enter_context(suite.profile)
            eventually(lambda: health.Check(request).status == SERVING, 30)
            assert stub.EncodeSession(user, timeout=5).num_window_events == 0
        assert suite.session.stop() == 0


def test_a_start_while_the_profile_service_prepares_the_new_bundle_begins_with_its_own(
    tmp_path: Path, bundles: Path
) -> None:
    root = own_copy(bundles, tmp_path / "bundles")
    (root / "current").unlink()
    old = BundleStore(bundles).current()
    assert old is not None
    new = tiny_bundle(root, seed=7).name
    scripted, port = Scripted(), free_port()
    scripted.hold(old, {})
    session = service_process(
        "groundswell.session_service",
        port,
        root,
        tmp_path / "log",
        {"GROUNDSWELL_PROFILE_ADDRESS": scripted.addresses["profile"]},
    )
    targets = Targets(profile="127.0.0.1:1", session=f"127.0.0.1:{port}", ranker="127.0.0.1:1")
    try:
        with session, GroundswellClient(targets) as client:
            session.wait_serving(targets.session)
            assert client.model("session").model.bundle_id == old
            scripted.hold(new, {})
            eventually(lambda: client.model("session").model.bundle_id == new)
            assert list(client.model("session").loaded_bundle_ids) == [new, old]
    finally:
        scripted.stop()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GROUNDSWELL_WINDOW_TTL_S", "0"),
        ("GROUNDSWELL_MAX_WINDOWS", "many"),
        ("GROUNDSWELL_APPEND_TIMEOUT_S", "nan"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(
    tmp_path: Path, bundles: Path, variable: str, value: str
) -> None:
    process = service_process(
        "groundswell.session_service", 0, bundles, tmp_path / "log", {variable: value}
    )
    with process:
        assert process.wait() == 2
    assert variable in process.log()
