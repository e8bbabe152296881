"""Builds the ranker service's parts and serves them."""

import grpc

from groundswell.artifacts.store import BundleStore
from groundswell.common.v1 import model_service_pb2_grpc
from groundswell.ranker.v1 import ranker_service_pb2_grpc
from groundswell.ranker_service.bundles import LoadedBundles
from groundswell.ranker_service.recommender import Recommender
from groundswell.ranker_service.requests import RequestReader
from groundswell.ranker_service.seen import SeenCache
from groundswell.ranker_service.servicer import RankerServicer
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.upstreams import Upstreams
from groundswell.runtime.bundle_follower import BundleFollower
from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.channels import open_channel
from groundswell.serving.model_servicer import ModelServicer
from groundswell.serving.overload import Admissions
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import serve

_SERVICE = "groundswell.ranker.v1.RankerService"


async def main(settings: RankerSettings) -> None:
    """Serve until the process is told to end."""
    profile = open_channel(settings.profile_address, http_proxy=settings.http_proxy)
    session = open_channel(settings.session_address, http_proxy=settings.http_proxy)
    seen = SeenCache(
        settings.seen_mask,
        max_bytes=settings.max_seen_bytes,
        max_users=settings.max_seen_users,
    )
    upstreams = Upstreams(profile, session, seen, max_bulk_users=settings.max_bulk_users)
    bundles = LoadedBundles(profile, upstreams, settings)
    store = BundleStore(settings.bundles)
    follower = BundleFollower(store, settings.bundle_poll_s, bundles.take, first=bundles.first)
    reader = RequestReader(Pseudonymizer(*settings.secrets))
    recommender = Recommender(upstreams, settings.seen_mask)
    servicer = RankerServicer(recommender, bundles, reader, settings)

    def register(server: grpc.aio.Server) -> tuple[str, ...]:
        ranker_service_pb2_grpc.add_RankerServiceServicer_to_server(servicer, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(bundles.served, bundles.loaded_ids), server
        )
        return _SERVICE, "groundswell.common.v1.ModelService"

    async def close() -> None:
        await follower.close()
        await bundles.close()
        await profile.close()
        await session.close()

    await serve(
        settings, register, ready=follower.start, close=close, admissions=_admissions(settings)
    )


def _admissions(settings: RankerSettings) -> Admissions:
    """Refuse a call when too little of the time for its two views would be left."""
    admission = DeadlineAdmission(
        default_s=settings.recommend_timeout_s,
        share=settings.upstream_share,
        longest_s=settings.upstream_timeout_s,
    )
    return {f"/{_SERVICE}/{method}": admission for method in ("Recommend", "GetInterests")}
