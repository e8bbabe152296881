"""A profile and a session service that answer as a test says, wrong answers included."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from grpc_status import rpc_status
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import Item, Vector
from groundswell.common.v1.model_service_pb2 import GetModelResponse, ModelInfo
from groundswell.common.v1.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from groundswell.profile.v1.catalogue_service_pb2 import (
    ItemChange,
    WatchItemsRequest,
    WatchItemsResponse,
)
from groundswell.profile.v1.catalogue_service_pb2_grpc import (
    CatalogueServiceServicer,
    add_CatalogueServiceServicer_to_server,
)
from groundswell.profile.v1.profile_service_pb2 import (
    BatchGetProfilesResponse,
    ChunkEffect,
    EventEffect,
    ExplainProfileResponse,
    GetProfileRequest,
    GetProfileResponse,
    Profile,
)
from groundswell.profile.v1.profile_service_pb2_grpc import (
    ProfileServiceServicer,
    add_ProfileServiceServicer_to_server,
)
from groundswell.serving.errors import FailedPrecondition, to_status
from groundswell.serving.vectors import unpack_int64
from groundswell.session.v1.session_service_pb2 import (
    BatchEncodeSessionsResponse,
    EncodeSessionResponse,
    EncodeSessionResult,
)
from groundswell.session.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)


def vector(values: NDArray[np.floating] | Sequence[float], bundle_id: str) -> Vector:
    """A message of any values, also of such as are not finite."""
    array = np.asarray(values, "<f4")
    return Vector(values=array.tobytes(), dimension=len(array), bundle_id=bundle_id)


class Scripted:
    """What both services answer; a test changes it as it likes."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self.sessions: dict[str, EncodeSessionResponse] = {}
        self.loaded: dict[str, list[str]] = {"profile": [], "session": []}
        self.delays_s = {"profile": 0.0, "session": 0.0}
        self.failures: dict[str, grpc.StatusCode] = {}
        self.asked: list[Any] = []
        self.vectors: dict[str, dict[int, NDArray[np.float32]]] = {}
        """Per bundle the vectors of item numbers."""
        self.holds_back_catalogue = False
        self.batches_leave_out_seen = False
        self.checks_bundles = False
        """Whether a bundle that a service does not hold is refused, as the real services do, and
        every vector said to be of the bundle that is asked for."""
        self.lineage = ""
        self._changes: dict[int, ItemChange] = {}
        self._revision = 0
        self._streams = 0
        self._changed = threading.Condition()
        self._servers = {name: grpc.server(ThreadPoolExecutor(24)) for name in self.loaded}
        add_ProfileServiceServicer_to_server(_Profiles(self), self._servers["profile"])
        add_CatalogueServiceServicer_to_server(_Catalogue(self), self._servers["profile"])
        add_SessionServiceServicer_to_server(_Sessions(self), self._servers["session"])
        self.addresses = {}
        for name, server in self._servers.items():
            add_ModelServiceServicer_to_server(_Models(self, name), server)
            self.addresses[name] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            server.start()

    def stop(self) -> None:
        """End both servers and every stream."""
        self.break_streams()
        for server in self._servers.values():
            server.stop(None).wait()

    def forget(self) -> None:
        """Know nobody, answer at once, remember no request; the catalogue stays."""
        self.profiles.clear()
        self.sessions.clear()
        self.failures.clear()
        self.asked.clear()
        self.delays_s = dict.fromkeys(self.delays_s, 0.0)

    def hold(self, bundle_id: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Both services hold a bundle from now on, with the vectors of item numbers."""
        self.vectors[bundle_id] = {item_no: np.array(v) for item_no, v in vectors.items()}
        for loaded in self.loaded.values():
            loaded.append(bundle_id)

    def put(self, item: Item) -> None:
        """Write an item into the catalogue."""
        self._change(ItemChange(item=item))

    def delete(self, item: Item) -> None:
        """Delete an item."""
        self._change(ItemChange(item=item, deleted=True))

    def restore(self, lineage: str) -> None:
        """Hold an empty catalogue of another lineage, as after the restore of a backup."""
        with self._changed:
            self._changes.clear()
            self._revision = 0
            self.lineage = lineage
        self.break_streams()

    def break_streams(self) -> None:
        """End every WatchItems stream with UNAVAILABLE."""
        with self._changed:
            self._streams += 1
            self._changed.notify_all()

    def enter(self, service: str, request: Any, context: grpc.ServicerContext) -> None:
        """Note a request, then wait or fail as the test wants it."""
        self.asked.append(request)
        time.sleep(self.delays_s[service])
        if service in self.failures:
            context.abort(self.failures[service], "as the test wants it")

    def check_bundle(self, service: str, bundle_id: str, context: grpc.ServicerContext) -> None:
        """Refuse a bundle that a service does not hold, if bundles are checked."""
        if self.checks_bundles and bundle_id not in self.loaded[service]:
            error = FailedPrecondition("BUNDLE_NOT_LOADED", "as the test wants it")
            context.abort_with_status(rpc_status.to_status(to_status(error)))

    def of_bundle(self, vector: Vector, bundle_id: str) -> None:
        """Say that a vector is of the bundle that was asked for, if bundles are checked."""
        if self.checks_bundles and vector.values:
            vector.bundle_id = bundle_id

    def watch(
        self, request: WatchItemsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchItemsResponse]:
        """Follow the catalogue as the contract says."""
        self.asked.append(request)
        revision, streams = request.since_revision, self._streams
        reset = revision > 0 and request.lineage != self.lineage
        revision = 0 if reset else revision
        if request.bundle_id not in self.loaded["profile"]:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_NOT_LOADED")
        first = True
        while context.is_active():
            with self._changed:
                newer = [c for r, c in sorted(self._changes.items()) if r > revision]
                if not newer and not first:
                    self._changed.wait(0.05)
                if streams != self._streams:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the test broke the stream")
                if (not newer and not first) or self.holds_back_catalogue:
                    time.sleep(0.01)
                    continue
                revision, first = self._revision, False
            for change in newer:
                held = self.vectors.get(request.bundle_id, {}).get(change.item.item_no)
                if held is not None and not change.deleted:
                    change.vector.CopyFrom(vector(held, request.bundle_id))
            yield WatchItemsResponse(
                changes=newer,
                revision=revision,
                caught_up=True,
                lineage=self.lineage,
                reset=reset,
            )
            reset = False

    def _change(self, change: ItemChange) -> None:
        with self._changed:
            self._revision += 1
            item_no = change.item.item_no
            self._changes = {r: c for r, c in self._changes.items() if c.item.item_no != item_no}
            change.item.revision = self._revision
            self._changes[self._revision] = change
            self._changed.notify_all()


class _Profiles(ProfileServiceServicer):
    RefreshProfiles: Any = None

    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted

    def GetProfile(self, request: Any, context: Any) -> Any:
        self._scripted.enter("profile", request, context)
        self._scripted.check_bundle("profile", request.bundle_id, context)
        return GetProfileResponse(profile=self._profile(request))

    def BatchGetProfiles(self, request: Any, context: Any) -> Any:
        self._scripted.enter("profile", request, context)
        self._scripted.check_bundle("profile", request.requests[0].bundle_id, context)
        profiles = [self._profile(r) for r in request.requests]
        if self._scripted.batches_leave_out_seen:
            for profile in profiles:
                profile.seen.included = False
                profile.seen.item_nos = profile.seen.action_masks = b""
        return BatchGetProfilesResponse(profiles=profiles)

    def ExplainProfile(self, request: Any, context: Any) -> Any:
        self._scripted.enter("profile", request, context)
        seen = self._profile(GetProfileRequest(user_id=request.user_id)).seen
        return ExplainProfileResponse(
            events=[EventEffect(item_no=n, effect=0.5) for n in unpack_int64(seen.item_nos)],
            chunks=[ChunkEffect(effect=0.25)],
            lineage=self._scripted.lineage,
        )

    def _profile(self, request: Any) -> Profile:
        profile = Profile()
        profile.CopyFrom(self._scripted.profiles.get(request.user_id, Profile()))
        self._scripted.of_bundle(profile.vector, request.bundle_id)
        held = request.HasField("known_seen_version")
        held = held and request.known_seen_lineage == profile.seen.lineage
        if held and request.known_seen_version == profile.seen.version:
            profile.seen.included = False
            profile.seen.item_nos = profile.seen.action_masks = b""
        return profile


class _Sessions(SessionServiceServicer):
    RecordEvents: Any = None
    LinkSession: Any = None

    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted

    def EncodeSession(self, request: Any, context: Any) -> Any:
        self._scripted.enter("session", request, context)
        self._scripted.check_bundle("session", request.bundle_id, context)
        return self._session(request)

    def BatchEncodeSessions(self, request: Any, context: Any) -> Any:
        self._scripted.enter("session", request, context)
        self._scripted.check_bundle("session", request.requests[0].bundle_id, context)
        results = [EncodeSessionResult(session=self._session(one)) for one in request.requests]
        return BatchEncodeSessionsResponse(results=results)

    def _session(self, request: Any) -> EncodeSessionResponse:
        subject = request.WhichOneof("subject")
        name = request.user_id if subject == "user_id" else "inline"
        answer = EncodeSessionResponse()
        answer.CopyFrom(self._scripted.sessions.get(name, EncodeSessionResponse()))
        self._scripted.of_bundle(answer.vector, request.bundle_id)
        return answer


class _Models(ModelServiceServicer):
    def __init__(self, scripted: Scripted, name: str) -> None:
        self._scripted = scripted
        self._name = name

    def GetModel(self, request: Any, context: Any) -> Any:  # noqa: ARG002 - gRPC's signature
        loaded = self._scripted.loaded[self._name]
        served = ModelInfo(bundle_id=loaded[0] if loaded else "")
        return GetModelResponse(model=served, loaded_bundle_ids=loaded)


class _Catalogue(CatalogueServiceServicer):
    UpsertItems: Any = None
    DeleteItems: Any = None
    GetItem: Any = None
    ListItems: Any = None
    StageItems: Any = None
    CommitStage: Any = None
    DropStage: Any = None

    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted

    def WatchItems(self, request: Any, context: Any) -> Any:
        return self._scripted.watch(request, context)
