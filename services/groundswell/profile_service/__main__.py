"""`python -m groundswell.profile_service`: the profile service, a worker alone, and upkeep."""

import argparse
import os

import structlog

from groundswell.profile_service.process import encode, main
from groundswell.profile_service.settings import (
    DatabaseSettings,
    ProfileSettings,
    RotationSettings,
    WorkerSettings,
)
from groundswell.profile_service.upkeep import (
    begin_new_lineage,
    every_half_minute,
    log_progress,
    migrate,
    rotate_secret,
)
from groundswell.serving.server import run
from groundswell.serving.settings import load_settings

_log = structlog.get_logger(__name__)


async def migrated(settings: DatabaseSettings) -> None:
    """Bring the database to the form of this release."""
    await migrate(settings.database_url)
    _log.info("migrated")


async def restored(settings: DatabaseSettings) -> None:
    """Tell the database that it was restored from a backup."""
    _log.info("lineage_begun", lineage=await begin_new_lineage(settings.database_url))


async def rotate(settings: RotationSettings) -> None:
    """Rewrite every user's key for the newest secret."""
    on_progress = every_half_minute(log_progress)
    num_users = await rotate_secret(
        settings.database_url, settings.secrets, settings.tombstone_file, on_progress
    )
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
    worker.add_argument("--device", help="cpu, cuda or cuda:N; it overrides GROUNDSWELL_DEVICE")
    parts.add_parser("migrate", help="bring the database to the form of this release")
    parts.add_parser("restored", help="tell the database that it was restored from a backup")
    parts.add_parser("rotate-secret", help="rewrite every user's key for a new GROUNDSWELL_SECRET")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    match arguments.part:
        case None:
            run(main(load_settings(ProfileSettings)))
        case "migrate":
            run(migrated(load_settings(DatabaseSettings)))
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
