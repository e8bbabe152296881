"""The command that serves the console."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from groundswell.cli.commands.options import (
    PROFILE_TARGET,
    RANKER_TARGET,
    SESSION_TARGET,
    ProfileTarget,
    RankerTarget,
    SessionTarget,
)
from groundswell.cli.failures import CommandError


def console(
    bundles: Annotated[
        Path | None,
        typer.Option(help="Folder of bundles, to show how the ranker's bundle was trained."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. The console asks nobody who they are: where others "
            "reach it, put a proxy with a login before it."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8050,
    ranker: RankerTarget = RANKER_TARGET,
    session: SessionTarget = SESSION_TARGET,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Serve web pages that show users, recommendations, services and the bundle. Read-only.

    Ctrl-C ends it.
    """
    import uvicorn

    from groundswell.cli.connection import connected
    from groundswell.cli.console.app import LOOPBACK, console_app
    from groundswell.client import Targets

    targets = Targets(ranker=ranker, session=session, profile=profile)
    hosts = LOOPBACK if host in LOOPBACK else ("*",)
    with connected(targets, "ranker") as client, _listening(host, port) as listening:
        app = console_app(client, targets, bundles, hosts)
        # Addresses of pages hold ids of users: no log of them.
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        typer.echo(f"The console is at http://{host}:{port}/ ; Ctrl-C ends it.")
        if host not in LOOPBACK:
            typer.echo(f"Whoever reaches {host}:{port} can read the data of all users.", err=True)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            typer.echo("The console has ended.")


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CommandError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host"
        ) from error
