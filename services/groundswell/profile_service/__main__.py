"""`python -m groundswell.profile_service`: the profile service, a worker alone, and upkeep."""

import argparse
import os
from collections.abc import Sequence
from functools import partial

import grpc
import structlog

from groundswell.artifacts.bundle import TEXT_ENCODER, Bundle
from groundswell.artifacts.follower import BundleFollower
from groundswell.artifacts.store import BundleStore
from groundswell.artifacts.text_cache import TextCache
from groundswell.common.v1 import model_service_pb2_grpc
from groundswell.profile.v1 import (
    catalogue_service_pb2_grpc,
    event_service_pb2_grpc,
    profile_service_pb2_grpc,
    text_service_pb2_grpc,
)
from groundswell.profile_service.bundles import LoadedBundles
from groundswell.profile_service.coverage import covered_bundle
from groundswell.profile_service.encode_bundles import EncodedBundles
from groundswell.profile_service.encoding import TextEncoder
from groundswell.profile_service.events import EventLog
from groundswell.profile_service.items import Catalogue
from groundswell.profile_service.lineage import LineageKeeper
from groundswell.profile_service.profiles import Profiles
from groundswell.profile_service.secret_keys import check_secrets
from groundswell.profile_service.servicers.catalogue import CatalogueServicer
from groundswell.profile_service.servicers.event import EventServicer
from groundswell.profile_service.servicers.profile import ProfileServicer
from groundswell.profile_service.servicers.text import TextServicer
from groundswell.profile_service.settings import (
    DatabaseSettings,
    ProfileSettings,
    RotationSettings,
    WorkerSettings,
)
from groundswell.profile_service.signals import Signals
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.upkeep import (
    begin_new_lineage,
    every_half_minute,
    log_progress,
    rotate_secret,
)
from groundswell.profile_service.workers import Workers
from groundswell.serving.health import OVERALL, Health
from groundswell.serving.model_servicer import ModelServicer
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import StartError, run, serve
from groundswell.serving.settings import load_settings

_log = structlog.get_logger(__name__)

SERVICES = (
    "groundswell.profile.v1.EventService",
    "groundswell.profile.v1.ProfileService",
    "groundswell.profile.v1.CatalogueService",
    "groundswell.profile.v1.TextService",
    "groundswell.common.v1.ModelService",
)

WORKER = "groundswell.profile.v1.EncoderWorker"
"""The name under which health speaks of the encoder worker, which serves no calls. A service whose
worker fails still answers, so its other names stay SERVING."""


async def main(settings: ProfileSettings) -> None:
    """Serve until the process is told to end."""
    database = _database(settings)
    pseudonyms = Pseudonymizer(*settings.secrets)
    signals = Signals()
    lineage = LineageKeeper(database, settings.high_water)
    profiles = Profiles(
        database,
        pseudonyms,
        max_cached=settings.max_cached_profiles,
        max_bytes=settings.max_cached_profile_bytes,
    )
    catalogue = Catalogue(database, signals, settings.idle_poll_s)
    health = Health()
    names = (WORKER,) if settings.worker else ()
    await health.add(names)
    workers = Workers(
        database,
        settings,
        signals,
        lambda bundle: _onnx_encoder(bundle, settings),
        partial(health.report, names),
    )
    bundles = LoadedBundles(settings, workers, profiles)
    store = BundleStore(settings.bundles)
    first = partial(covered_bundle, database, store)
    follower = BundleFollower(store, settings.bundle_poll_s, bundles.take, first=first)

    log = EventLog(
        database,
        pseudonyms,
        signals,
        max_future_s=settings.max_event_future_s,
        on_stored=lineage.stored,
    )

    def register(server: grpc.aio.Server) -> Sequence[str]:
        event_service_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(log), server)
        profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(
            ProfileServicer(profiles, bundles), server
        )
        catalogue_service_pb2_grpc.add_CatalogueServiceServicer_to_server(
            CatalogueServicer(catalogue, bundles), server
        )
        text_service_pb2_grpc.add_TextServiceServicer_to_server(
            TextServicer(bundles, settings), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(bundles.served, bundles.loaded_ids), server
        )
        return SERVICES

    async def ready() -> None:
        await database.open(wait_s=settings.database_wait_s)
        await check_secrets(database, pseudonyms)
        await lineage.start()
        await follower.start()

    async def close() -> None:
        await follower.close()
        await workers.close()
        await bundles.close()
        await lineage.close()
        await database.close()

    await serve(settings, register, ready=ready, close=close, health=health)


async def encode(settings: WorkerSettings) -> None:
    """Work off the lists of stale users and items until the process is told to end."""
    _check_device(settings.device)
    database = _database(settings)
    health = Health()
    names = (OVERALL, WORKER)
    await health.add(names)
    workers = Workers(
        database,
        settings,
        Signals(),
        lambda bundle: _encoder(bundle, settings),
        partial(health.report, names),
    )
    bundles = EncodedBundles(workers)
    store = BundleStore(settings.bundles)
    first = partial(covered_bundle, database, store)
    follower = BundleFollower(store, settings.bundle_poll_s, bundles.take, first=first)

    async def ready() -> None:
        await database.open(wait_s=settings.database_wait_s)
        await follower.start()

    async def close() -> None:
        await follower.close()
        await bundles.close()
        await workers.close()
        await database.close()

    # It serves health alone, so that whoever runs it can see that it lives and gets on.
    await serve(settings, lambda _: (), ready=ready, close=close, health=health)


def _database(settings: ProfileSettings) -> Database:
    return Database(
        settings.database_url,
        pool_size=settings.pool_size,
        pool_timeout_s=settings.pool_timeout_s,
    )


def _onnx_encoder(bundle: Bundle, settings: ProfileSettings) -> TextEncoder:
    encoder = bundle.text_encoder(settings.worker_threads)
    if settings.text_vectors is None:
        return encoder
    fingerprint = bundle.manifest.text.fingerprint
    return TextCache(settings.text_vectors, encoder, fingerprint, keep=False)


def _check_device(device: str) -> None:
    """Raise StartError when the worker cannot run there: before anything is opened."""
    if device == "cpu":
        return
    try:
        from groundswell.models.devices import device_problem
    except ModuleNotFoundError as error:
        raise StartError(
            "DEVICE_UNAVAILABLE",
            f"GROUNDSWELL_DEVICE: {device} needs the package {error.name}; run: "
            "pip install 'groundswell[worker]', or use cpu",
        ) from error
    problem = device_problem(device)
    if problem is not None:
        raise StartError("DEVICE_UNAVAILABLE", f"GROUNDSWELL_DEVICE: {problem}; or use cpu")


def _encoder(bundle: Bundle, settings: WorkerSettings) -> TextEncoder:
    if settings.device == "cpu":
        return _onnx_encoder(bundle, settings)
    # torch comes in here and above alone, so that the service never needs it.
    from groundswell.models.text_encoder import load_torch_encoder

    text_encoder = bundle.path / TEXT_ENCODER
    return load_torch_encoder(text_encoder, bundle.manifest.text.max_tokens, settings.device)


async def restored(settings: DatabaseSettings) -> None:
    """Tell the database that it was restored from a backup."""
    _log.info("lineage_begun", lineage=await begin_new_lineage(settings.database_url))


async def rotate(settings: RotationSettings) -> None:
    """Rewrite every user's key for the newest secret."""
    on_progress = every_half_minute(log_progress)
    num_users = await rotate_secret(settings.database_url, settings.secrets, on_progress)
    _log.info("keys_rewritten", users=num_users)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m groundswell.profile_service",
        description="The profile service; its settings are the variables GROUNDSWELL_*.",
    )
    parts = parser.add_subparsers(dest="part")
    worker = parts.add_parser(
        "encode", help="run an encoder worker alone, beside a service over the same PostgreSQL"
    )
    worker.add_argument(
        "--device", help="cpu, cuda or cuda:N; as GROUNDSWELL_DEVICE, over which it wins"
    )
    parts.add_parser("restored", help="tell the database that it was restored from a backup")
    parts.add_parser("rotate-secret", help="rewrite every user's key for a new GROUNDSWELL_SECRET")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    match arguments.part:
        case None:
            run(main(load_settings(ProfileSettings)))
        case "restored":
            run(restored(load_settings(DatabaseSettings)))
        case "rotate-secret":
            run(rotate(load_settings(RotationSettings)))
        case _:
            if arguments.device is not None:
                os.environ["GROUNDSWELL_DEVICE"] = arguments.device
            run(encode(load_settings(WorkerSettings)))


if __name__ == "__main__":
    _run(_arguments())
