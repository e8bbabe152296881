"""`python -m groundswell.profile_service`: the profile service; with `encode`, a worker alone."""

import argparse
import os
from collections.abc import Sequence
from functools import partial

import grpc

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
from groundswell.profile_service.encoding import TextEncoder
from groundswell.profile_service.events import EventLog
from groundswell.profile_service.items import Catalogue
from groundswell.profile_service.profiles import Profiles
from groundswell.profile_service.servicers.catalogue import CatalogueServicer
from groundswell.profile_service.servicers.event import EventServicer
from groundswell.profile_service.servicers.profile import ProfileServicer
from groundswell.profile_service.servicers.text import TextServicer
from groundswell.profile_service.settings import ProfileSettings, WorkerSettings
from groundswell.profile_service.signals import Signals
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.workers import Workers
from groundswell.serving.health import OVERALL, Health
from groundswell.serving.model_servicer import ModelServicer
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import StartError, run, serve
from groundswell.serving.settings import load_settings

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
    pseudonyms = Pseudonymizer(settings.secret.get_secret_value())
    signals = Signals()
    profiles = Profiles(database, pseudonyms, settings.max_cached_profiles)
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
    follower = BundleFollower(store, settings.bundle_poll_s, bundles.take)

    log = EventLog(database, pseudonyms, signals, max_future_s=settings.max_event_future_s)

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
        await follower.start()

    async def close() -> None:
        await follower.close()
        await workers.close()
        await bundles.close()
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

    async def take(bundle: Bundle) -> None:
        text = bundle.manifest.text
        await workers.follow(bundle, Spec(text.fingerprint, bundle.manifest.chunk_length))

    store = BundleStore(settings.bundles)
    follower = BundleFollower(store, settings.bundle_poll_s, take)

    async def ready() -> None:
        await database.open(wait_s=settings.database_wait_s)
        await follower.start()

    async def close() -> None:
        await follower.close()
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m groundswell.profile_service",
        description="The profile service; its settings are the variables GROUNDSWELL_*.",
    )
    worker = parser.add_subparsers(dest="part").add_parser(
        "encode", help="run an encoder worker alone, beside a service over the same PostgreSQL"
    )
    worker.add_argument(
        "--device", help="cpu, cuda or cuda:N; as GROUNDSWELL_DEVICE, over which it wins"
    )
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    if arguments.part is None:
        run(main(load_settings(ProfileSettings)))
    else:
        if arguments.device is not None:
            os.environ["GROUNDSWELL_DEVICE"] = arguments.device
        run(encode(load_settings(WorkerSettings)))
