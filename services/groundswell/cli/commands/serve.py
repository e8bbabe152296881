"""The commands that start services: up and demo."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from groundswell.cli.commands.options import Bundles
from groundswell.cli.interruption import says_when_interrupted


def up(
    bundles: Bundles,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the database and of the secret that the keys of users are made with. "
            "By default `state` beside the bundles."
        ),
    ] = None,
    profile_port: Annotated[int, typer.Option(min=1, max=65535)] = 50051,
    session_port: Annotated[int, typer.Option(min=1, max=65535)] = 50052,
    ranker_port: Annotated[int, typer.Option(min=1, max=65535)] = 50053,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of the text encoder in the profile service.")
    ] = 1,
    secure: Annotated[
        bool,
        typer.Option(
            "--secure",
            help="With TLS and tokens, as in production. Prints the variables that other commands "
            "need then.",
        ),
    ] = False,
) -> None:
    """Start all services on loopback, with one log. Ctrl-C ends them."""
    from rich.console import Console

    from groundswell.cli.suite import deployment, logs
    from groundswell.cli.suite.door import local_door
    from groundswell.cli.suite.launcher import Suite
    from groundswell.cli.suite.state import State

    ports = deployment.Ports(profile_port, session_port, ranker_port)
    deployment.check_bundles(bundles)
    deployment.check_ports(ports)
    log = Console(stderr=True, highlight=False)
    with State(state or bundles.parent / "state") as opened:
        door = local_door(opened.folder / "door") if secure else None
        services = deployment.embedded_services(
            bundles, opened, ports, worker_threads=threads, door=door
        )
        for variable, value in ({} if door is None else door.of_callers()).items():
            typer.echo(f"export {variable}={shlex.quote(value)}")
        try:
            with Suite(services, logs.to_console(log), None if door is None else door.tls) as suite:
                suite.wait_serving()
                for service in services:
                    typer.echo(f"{service.name:<8} {service.address}  SERVING")
                typer.echo("Everything is SERVING; Ctrl-C ends it.")
                suite.watch()
        except KeyboardInterrupt:
            typer.echo("Everything has ended.")


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="The folder of everything that the demo makes.")
    ] = Path("build/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Train until it gets no better: twice as long.")
    ] = False,
) -> None:
    """Run every step on real data: train, evaluate, serve, recommend, follow new events.

    Gets MovieLens-100k, trains a bundle and evaluates it. Starts the services on free ports,
    imports catalogue and log, and shows what they recommend and why. Nothing is left running. Exit
    code 0 means that every step worked.
    """
    from groundswell.cli.demo.run import run_demo

    with says_when_interrupted(lambda: "everything has ended"):
        run_demo(folder, seed, full=full)
