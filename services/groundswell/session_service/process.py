"""Builds the parts of the session service and serves them."""

from collections.abc import Collection

import grpc

from groundswell.artifacts.store import BundleStore
from groundswell.runtime.erasure_follower import ErasureFollower
from groundswell.runtime.process import serve_bundles
from groundswell.runtime.variants_follower import VariantsFollower
from groundswell.serving.admission import until_deadline
from groundswell.serving.channels import open_channel
from groundswell.serving.health import Health
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.tracing import start_traces
from groundswell.session.v1 import session_service_pb2_grpc
from groundswell.session_service.bundles import SessionBundles
from groundswell.session_service.profile_client import EventLogClient
from groundswell.session_service.servicer import SessionServicer
from groundswell.session_service.sessions import Sessions
from groundswell.session_service.settings import SessionSettings
from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.store import WindowStore

_SERVICE = "groundswell.session.v1.SessionService"


async def main(settings: SessionSettings) -> None:
    """Serve until the process is told to end."""
    start_traces(settings, "session")
    profile = open_channel(settings.profile_address, settings)
    store, bundles = BundleStore(settings.bundles), SessionBundles(profile, settings)
    windows = _windows(settings)

    async def drop(user_marks: Collection[bytes]) -> None:
        await windows.drop(user_marks)
        bundles.drop(user_marks)

    pseudonyms, health = Pseudonymizer(*settings.secrets), Health()
    following = ErasureFollower(profile, drop, pseudonyms.checks, health)
    sessions = _sessions(profile, bundles, windows, pseudonyms, settings)
    servicer = SessionServicer(sessions, bundles)

    def add_servicers(server: grpc.aio.Server) -> tuple[str, ...]:
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server)
        return (_SERVICE,)

    await serve_bundles(
        settings,
        add_servicers,
        take=bundles.take,
        first=bundles.first,
        variants=VariantsFollower(store, settings.bundle_poll_s, bundles.held),
        held=bundles.held,
        begin=(following.start,),
        holds_previous=True,
        close=(following, bundles, windows, profile),
        health=health,
        admissions=until_deadline(
            _SERVICE, "EncodeSession", "BatchEncodeSessions", "RecordEvents", "LinkSession"
        ),
    )


def _windows(settings: SessionSettings) -> WindowStore:
    if not settings.windows_url:
        return MemoryWindows(settings.max_windows, settings.max_window_bytes)
    # Imported when it is used: the library takes half a second of a start.
    from groundswell.session_service.windows.valkey import ValkeyWindows

    return ValkeyWindows(
        settings.windows_url,
        timeout_s=settings.windows_timeout_s,
        keep_s=settings.windows_keep_s,
    )


def _sessions(
    profile: grpc.aio.Channel,
    bundles: SessionBundles,
    windows: WindowStore,
    pseudonyms: Pseudonymizer,
    settings: SessionSettings,
) -> Sessions:
    log = EventLogClient(
        profile,
        append_timeout_s=settings.append_timeout_s,
        list_timeout_s=settings.list_timeout_s,
    )
    return Sessions(
        log,
        windows,
        pseudonyms,
        changed=bundles.refresh,
        ttl_s=settings.window_ttl_s,
    )
