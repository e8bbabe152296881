"""Builds the ranker service's parts and serves them."""

import grpc

from groundswell.artifacts.store import BundleStore
from groundswell.ranker.v1 import ranker_service_pb2_grpc
from groundswell.ranker_service.assignment import AssignedRankers
from groundswell.ranker_service.bundles import RankerBundles
from groundswell.ranker_service.outcome_client import OutcomeClient
from groundswell.ranker_service.page_tokens import PageTokens
from groundswell.ranker_service.popularity_now import CurrentPopularity, PopularityFollower
from groundswell.ranker_service.profile_client import ProfileClient
from groundswell.ranker_service.recommender import Recommender
from groundswell.ranker_service.requests import RequestReader
from groundswell.ranker_service.seen import SeenCache
from groundswell.ranker_service.servicer import RankerServicer
from groundswell.ranker_service.session_client import SessionClient
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.shown import AnsweredLists
from groundswell.ranker_service.stages.filter import Exclusions
from groundswell.ranker_service.stages.gather import Gather
from groundswell.runtime.erasure_follower import ErasureFollower
from groundswell.runtime.process import serve_bundles
from groundswell.runtime.variants_follower import VariantsFollower
from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.channels import open_channel
from groundswell.serving.health import Health
from groundswell.serving.overload import Admissions
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.tracing import start_traces

_SERVICE = "groundswell.ranker.v1.RankerService"


async def main(settings: RankerSettings) -> None:
    """Serve until the process is told to end."""
    start_traces(settings, "ranker")
    profile = open_channel(settings.profile_address, settings)
    session = open_channel(settings.session_address, settings)
    popularity = CurrentPopularity()
    bundles = RankerBundles(profile, session, settings, popularity)
    following = PopularityFollower(profile, popularity, bundles.take_popularity)
    tokens = PageTokens(*settings.secrets)
    pseudonyms = Pseudonymizer(*settings.secrets)
    reader = RequestReader(pseudonyms, tokens)
    gather = _gather(profile, session, settings)
    health = Health()
    erasures = ErasureFollower(profile, gather.drop, pseudonyms.checks, health)
    recommender = Recommender(gather, Exclusions(settings.seen_mask))
    answered = AnsweredLists(profile, max_waiting=settings.max_lists_waiting)
    kept = answered if settings.max_lists_waiting else None
    store = BundleStore(settings.bundles)
    variants = VariantsFollower(store, settings.bundle_poll_s, bundles.held)
    assignment = AssignedRankers(bundles, lambda: variants.variants)
    servicer = RankerServicer(recommender, bundles, reader, settings, tokens, assignment, kept)

    def add_servicers(server: grpc.aio.Server) -> tuple[str, ...]:
        ranker_service_pb2_grpc.add_RankerServiceServicer_to_server(servicer, server)
        return (_SERVICE,)

    await serve_bundles(
        settings,
        add_servicers,
        take=bundles.take,
        first=bundles.first,
        variants=variants,
        held=bundles.held,
        begin=(answered.start, following.start, erasures.start),
        close=(answered, following, erasures, bundles, profile, session),
        health=health,
        admissions=_admissions(settings),
    )


def _gather(
    profile: grpc.aio.Channel, session: grpc.aio.Channel, settings: RankerSettings
) -> Gather:
    seen = SeenCache(
        settings.seen_mask,
        max_bytes=settings.max_seen_bytes,
        max_users=settings.max_seen_users,
    )
    profiles = ProfileClient(profile, seen, max_kept_bytes=settings.max_kept_bytes)
    return Gather(
        SessionClient(session, seen, max_kept_bytes=settings.max_kept_bytes),
        profiles,
        OutcomeClient(profile, lambda: profiles.is_down),
        max_bulk_users=settings.max_bulk_users,
    )


def _admissions(settings: RankerSettings) -> Admissions:
    """Refuse a call when too little time would be left to ask the other services."""
    admission = DeadlineAdmission(
        default_s=settings.recommend_timeout_s,
        share=settings.upstream_share,
        longest_s=settings.upstream_timeout_s,
    )
    return {f"/{_SERVICE}/{method}": admission for method in ("Recommend", "GetInterests")}
