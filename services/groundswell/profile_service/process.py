"""Builds the parts of the profile service, or of an encoder worker alone, and serves them."""

from collections.abc import Callable, Sequence
from functools import partial

import grpc

from groundswell.artifacts.store import BundleStore
from groundswell.profile.v1 import (
    catalogue_service_pb2_grpc,
    event_service_pb2_grpc,
    outcome_service_pb2_grpc,
    profile_service_pb2_grpc,
    text_service_pb2_grpc,
    user_data_service_pb2_grpc,
)
from groundswell.profile_service.bundles.encoded import WorkerBundles
from groundswell.profile_service.bundles.first import covered_bundle
from groundswell.profile_service.bundles.loaded import ProfileBundles
from groundswell.profile_service.catalogue import StoredCatalogue
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.expiry import Expiry
from groundswell.profile_service.identity.lineage import LineageKeeper
from groundswell.profile_service.identity.secret_keys import check_secrets
from groundswell.profile_service.outcomes.lists import ShownLists
from groundswell.profile_service.outcomes.popularity_counter import Popularity
from groundswell.profile_service.outcomes.reports import OutcomeReports
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.profile_service.rights.erasures import Erasures
from groundswell.profile_service.rights.exports import Exports
from groundswell.profile_service.rights.retention import Retention
from groundswell.profile_service.servicers.catalogue import CatalogueServicer
from groundswell.profile_service.servicers.event import EventServicer
from groundswell.profile_service.servicers.outcome import OutcomeServicer
from groundswell.profile_service.servicers.profile import ProfileServicer
from groundswell.profile_service.servicers.text import TextServicer
from groundswell.profile_service.servicers.user_data import UserDataServicer
from groundswell.profile_service.settings import ProfileSettings, WorkerSettings
from groundswell.profile_service.staging import Stages
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.visitors import Visitors
from groundswell.profile_service.worker.running import RunningWorker
from groundswell.profile_service.worker_encoders import (
    check_backend,
    chosen_encoders,
    onnx_encoders,
)
from groundswell.runtime.process import serve_bundles
from groundswell.runtime.variants_follower import VariantsFollower
from groundswell.serving.admission import until_deadline
from groundswell.serving.attribution import AttributionTokens
from groundswell.serving.health import OVERALL, Health
from groundswell.serving.overload import Admissions
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.tracing import start_traces

SERVICES = (
    "groundswell.profile.v1.EventService",
    "groundswell.profile.v1.ProfileService",
    "groundswell.profile.v1.CatalogueService",
    "groundswell.profile.v1.TextService",
    "groundswell.profile.v1.OutcomeService",
    "groundswell.profile.v1.UserDataService",
)

WORKER = "groundswell.profile.v1.EncoderWorker"
"""The health name of the encoder worker, which serves no calls. A service whose worker fails still
answers, so its other names stay SERVING."""


async def main(settings: ProfileSettings) -> None:
    """Run the profile service until the process is told to end."""
    start_traces(settings, "profile")
    database, signals, health = _database(settings), Signals(), Health()
    pseudonyms = Pseudonymizer(*settings.secrets)
    lineage = LineageKeeper(database, settings.high_water)
    names = (WORKER,) if settings.worker else ()
    await health.add(names)
    report = partial(health.report, names)
    load = partial(onnx_encoders, settings=settings)
    worker = RunningWorker(database, settings, signals, load, report)
    store, bundles = BundleStore(settings.bundles), ProfileBundles(settings, worker)
    popularity = _popularity(database, settings)
    log = _event_log(database, pseudonyms, signals, lineage, popularity, bundles, settings)
    visitors = _visitors(database, pseudonyms, signals, bundles, settings)
    profiles = _profiles(database, pseudonyms, settings)
    stored = StoredCatalogue(database, signals, settings.idle_poll_s)
    stages = Stages(database, signals, keep_s=settings.stage_keep_s)
    catalogue = CatalogueServicer(stored, stages, bundles)
    lists = ShownLists(database, pseudonyms, keep_s=settings.lists_s)
    tokens = AttributionTokens(*settings.secrets)
    kept, poll_s = settings.tombstone_file, settings.idle_poll_s
    erasures = Erasures(database, pseudonyms, kept, drop=profiles.drop, idle_poll_s=poll_s)
    keep_s, reads = settings.retention_s, bundles.reads_histories
    retention = Retention(database, signals, keep_s=keep_s, reads_histories=reads)
    expiry = Expiry(
        visitors=visitors.expire,
        shown_lists=lists.expire,
        stages=stages.expire,
        erasures=erasures.finish,
        events=retention.expire,
    )
    user_data = UserDataServicer(erasures, Exports(database, pseudonyms), pseudonyms.checks)
    outcomes = OutcomeServicer(lists, OutcomeReports(database, tokens), popularity, tokens)
    await serve_bundles(
        settings,
        _servicers(
            EventServicer(log, visitors),
            outcomes,
            ProfileServicer(profiles, bundles),
            catalogue,
            TextServicer(bundles, settings),
            user_data,
        ),
        take=bundles.take,
        first=partial(covered_bundle, database, store),
        variants=VariantsFollower(store, settings.bundle_poll_s, bundles.held),
        held=bundles.held,
        holds_previous=True,
        begin=(
            partial(database.open, wait_s=settings.database_wait_s),
            partial(check_secrets, database, pseudonyms),
            lineage.start,
            erasures.start,
            database.follow_changes,
            expiry.start,
            popularity.start,
        ),
        close=(worker, bundles, expiry, popularity, erasures, lineage, database),
        health=health,
        admissions=_admissions(),
    )


async def encode(settings: WorkerSettings) -> None:
    """Work off the lists of stale users and items until the process is told to end."""
    start_traces(settings, "worker")
    check_backend(settings)
    database, health = _database(settings), Health()
    names = (OVERALL, WORKER)
    await health.add(names)
    report = partial(health.report, names)
    load = partial(chosen_encoders, settings=settings)
    worker = RunningWorker(database, settings, Signals(), load, report)
    store, bundles = BundleStore(settings.bundles), WorkerBundles(worker)
    # It serves health alone, so that its operator sees whether it runs and makes progress.
    await serve_bundles(
        settings,
        lambda _: (),
        take=bundles.take,
        first=partial(covered_bundle, database, store),
        variants=VariantsFollower(store, settings.bundle_poll_s, bundles),
        held=None,
        begin=(partial(database.open, wait_s=settings.database_wait_s),),
        close=(bundles, worker, database),
        health=health,
    )


def _event_log(
    database: Database,
    pseudonyms: Pseudonymizer,
    signals: Signals,
    lineage: LineageKeeper,
    popularity: Popularity,
    bundles: ProfileBundles,
    settings: ProfileSettings,
) -> EventStore:
    return EventStore(
        database,
        pseudonyms,
        signals,
        max_future_s=settings.max_event_future_s,
        on_stored=lineage.stored,
        on_new=popularity.stored,
        reads_histories=bundles.reads_histories,
    )


def _visitors(
    database: Database,
    pseudonyms: Pseudonymizer,
    signals: Signals,
    bundles: ProfileBundles,
    settings: ProfileSettings,
) -> Visitors:
    return Visitors(
        database,
        pseudonyms,
        signals,
        keep_s=settings.visitor_keep_s,
        reads_histories=bundles.reads_histories,
    )


def _popularity(database: Database, settings: ProfileSettings) -> Popularity:
    return Popularity(
        database,
        half_life_s=settings.popularity_half_life_s,
        idle_poll_s=settings.idle_poll_s,
    )


def _profiles(database: Database, pseudonyms: Pseudonymizer, settings: ProfileSettings) -> Profiles:
    return Profiles(
        database,
        pseudonyms,
        max_cached=settings.max_cached_profiles,
        max_bytes=settings.max_cached_profile_bytes,
    )


def _servicers(
    events: EventServicer,
    outcomes: OutcomeServicer,
    profiles: ProfileServicer,
    catalogue: CatalogueServicer,
    texts: TextServicer,
    user_data: UserDataServicer,
) -> Callable[[grpc.aio.Server], Sequence[str]]:
    """Return a function that adds the servicers to a server and returns their names."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        event_service_pb2_grpc.add_EventServiceServicer_to_server(events, server)
        outcome_service_pb2_grpc.add_OutcomeServiceServicer_to_server(outcomes, server)
        profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(profiles, server)
        catalogue_service_pb2_grpc.add_CatalogueServiceServicer_to_server(catalogue, server)
        text_service_pb2_grpc.add_TextServiceServicer_to_server(texts, server)
        user_data_service_pb2_grpc.add_UserDataServiceServicer_to_server(user_data, server)
        return SERVICES

    return register


def _admissions() -> Admissions:
    """Refuse calls that would wait at their deadline."""
    package = "groundswell.profile.v1"
    return {
        **until_deadline(f"{package}.EventService", "AppendEvents", "ListEvents", "LinkSession"),
        **until_deadline(f"{package}.ProfileService", "GetProfile", "BatchGetProfiles"),
        **until_deadline(f"{package}.TextService", "EncodeTexts", "PredictInterests"),
        **until_deadline(f"{package}.OutcomeService", "GetImpressions"),
        **until_deadline(f"{package}.CatalogueService", "GetItem", "ListItems"),
        **until_deadline(f"{package}.CatalogueService", "UpsertItems", "DeleteItems"),
    }


def _database(settings: ProfileSettings) -> Database:
    return Database(
        settings.database_url,
        pool_size=settings.pool_size,
        pool_timeout_s=settings.pool_timeout_s,
    )
