"""The command on stored profiles: make all of them again."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from groundswell.cli.commands.options import Bundles, Separator
from groundswell.cli.database import Chosen, DatabaseUrl, StateFolder, chosen_database
from groundswell.cli.failures import CommandError
from groundswell.cli.interruption import says_when_interrupted
from groundswell.profile_service.backend_names import BackendName

if TYPE_CHECKING:
    from rich.console import Console

    from groundswell.profile_service.rebuild.run import Rebuilt

app = typer.Typer(no_args_is_help=True, help="Maintain the stored profiles of users.")


@app.callback()
def _group() -> None:
    """Keep `rebuild` a command of a group: Typer would make the only command the group itself."""


@app.command()
def rebuild(
    bundles: Bundles,
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The bundle whose profiles are made; else the current one."
        ),
    ] = None,
    state: StateFolder = None,
    database_url: DatabaseUrl = None,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read histories from this imported log, Parquet or CSV. Users whose events in the "
            "database differ are read from the database. Needs the deployment's secret.",
        ),
    ] = None,
    separator: Separator = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="A pool of processes on this machine, or Ray Data (PostgreSQL alone)."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster to join; else one is started on this machine."),
    ] = None,
    encoder_backend: Annotated[
        BackendName,
        typer.Option(help="What encodes chunks of histories: docs/decisions/text-backends.md."),
    ] = "onnx",
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes on this machine; else one per core. Not with --address."
        ),
    ] = None,
) -> None:
    """Make the profiles of all users again from their events, and encode what a bundle lacks.

    Rows that are correct already are neither encoded nor written again. With --bundle it does the
    backfill of a bundle that is to be served next. After an interruption, the same command goes on
    where it stopped.

    Over PostgreSQL services and workers may run meanwhile. SQLite has one writer: end the service
    first. docs/operations.md says more.
    """
    from rich.console import Console

    from groundswell.profile_service.rebuild.pages import Plan
    from groundswell.profile_service.rebuild.run import rebuild as rebuild_all

    if address is not None and engine != "ray":
        raise typer.BadParameter("it is for --engine ray", param_hint="--address")
    if address is not None and processes is not None:
        raise typer.BadParameter("the cluster decides how many run", param_hint="--processes")
    if bundle == "":
        raise typer.BadParameter("it names no bundle", param_hint="--bundle")
    _check_backend(encoder_backend)
    open_engine = partial(_opener(engine, address), processes=processes or _num_cores())
    console = Console(stderr=True)
    with (
        says_when_interrupted(lambda: "the same command goes on where it stopped"),
        chosen_database(state, database_url) as chosen,
    ):
        if engine == "ray" and chosen.is_sqlite:
            raise CommandError("--engine ray needs PostgreSQL: SQLite serves one machine")
        from groundswell.cli.display.progress import progress_bar

        rebuilt = rebuild_all(
            Plan(chosen.url, _path(bundles, bundle), encoder_backend),
            open_engine,
            partial(progress_bar, console),
            _log(console, chosen, events, separator),
        )
    _report(rebuilt)


def _opener(engine: str, address: str | None) -> Any:
    """Import what an engine needs, before anything is opened."""
    if engine == "ray":
        from groundswell.profile_service.rebuild.on_ray import ray_engine

        return partial(ray_engine, address=address)
    from groundswell.profile_service.rebuild.local import local_engine

    return local_engine


def _check_backend(name: str) -> None:
    from groundswell.profile_service.worker.text_backends.choice import AUTO, missing_package

    missing = None if name == AUTO else missing_package(name)
    if missing is not None:
        raise CommandError(
            f"--encoder-backend {name} needs the package {missing}; run: pip install "
            "'groundswell[worker]'"
        )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _path(bundles: Path, bundle: str | None) -> Path:
    from groundswell.artifacts.store import load_bundle

    return load_bundle(bundles / bundle if bundle else bundles).path


def _log(console: "Console", chosen: Chosen, file: Path | None, separator: str | None) -> Any:
    if file is None:
        return None
    from groundswell.cli.imports.event_rows import EventRows
    from groundswell.cli.imports.log_histories import LogHistories
    from groundswell.serving.pseudonym import Pseudonymizer
    from groundswell.trainer.loop.progress import working

    with working(console, f"reading {file.name}"):
        return LogHistories(EventRows(file, separator), Pseudonymizer(*chosen.secrets()))


def _report(rebuilt: "Rebuilt") -> None:
    if rebuilt.num_earlier:
        typer.echo(f"went on after {rebuilt.num_earlier:,} users of an earlier run")
    for what, counts in (("items", rebuilt.items), ("users", rebuilt.users)):
        if any(counts):
            typer.echo(
                f"{counts.written:,} {what} written, {counts.correct:,} were correct already"
            )
    num_failed = rebuilt.items.failed + rebuilt.users.failed
    if num_failed:
        raise CommandError(f"{num_failed:,} were left out; the same command tries all again")
