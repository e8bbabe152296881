"""`python -m groundswell.session_service`: builds the session service's parts and serves them."""

import grpc

from groundswell.artifacts.store import BundleStore
from groundswell.common.v1 import model_service_pb2_grpc
from groundswell.runtime.bundle_follower import BundleFollower
from groundswell.serving.admission import until_deadline
from groundswell.serving.channels import open_channel
from groundswell.serving.model_servicer import ModelServicer
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import run, serve
from groundswell.serving.settings import load_settings
from groundswell.session.v1 import session_service_pb2_grpc
from groundswell.session_service.bundles import LoadedBundles
from groundswell.session_service.profile_client import EventLogClient
from groundswell.session_service.servicer import SessionServicer
from groundswell.session_service.sessions import Sessions
from groundswell.session_service.settings import SessionSettings
from groundswell.session_service.windows.memory import MemoryWindows

_SERVICE = "groundswell.session.v1.SessionService"


async def main(settings: SessionSettings) -> None:
    """Serve until the process is told to end."""
    profile = open_channel(settings.profile_address, http_proxy=settings.http_proxy)
    bundles = LoadedBundles(profile, settings)
    store = BundleStore(settings.bundles)
    follower = BundleFollower(store, settings.bundle_poll_s, bundles.take, first=bundles.first)
    servicer = SessionServicer(_sessions(profile, bundles, settings), bundles)

    def register(server: grpc.aio.Server) -> tuple[str, ...]:
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(bundles.served, bundles.loaded_ids), server
        )
        return _SERVICE, "groundswell.common.v1.ModelService"

    async def close() -> None:
        await follower.close()
        await bundles.close()
        await profile.close()

    admissions = until_deadline(_SERVICE, "EncodeSession", "RecordEvents")
    await serve(settings, register, ready=follower.start, close=close, admissions=admissions)


def _sessions(
    profile: grpc.aio.Channel, bundles: LoadedBundles, settings: SessionSettings
) -> Sessions:
    log = EventLogClient(
        profile,
        append_timeout_s=settings.append_timeout_s,
        list_timeout_s=settings.list_timeout_s,
    )
    pseudonyms = Pseudonymizer(*settings.secrets)
    windows = MemoryWindows(settings.max_windows, settings.max_window_bytes)
    return Sessions(log, windows, pseudonyms, changed=bundles.refresh, ttl_s=settings.window_ttl_s)


if __name__ == "__main__":
    run(main(load_settings(SessionSettings)))
