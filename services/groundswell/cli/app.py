"""Every command of `groundswell`, and how their errors are shown."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from groundswell.cli.commands import (
    bench,
    bundles,
    call,
    certs,
    console,
    data,
    db,
    explain,
    grid,
    model,
    outcomes,
    profiles,
    recommend_all,
    replay,
    serve,
    text,
    users,
    variants,
)
from groundswell.cli.commands.ids import IdCommand
from groundswell.cli.failures import one_line

EXIT_FAILED, EXIT_USAGE = 1, 2

app = typer.Typer(
    name="groundswell",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommend items by what users have always liked and what they do now.",
)

_MODEL = "From a log to a bundle"
_SERVICES = "Running and asking the services"

app.command()(serve.demo)
app.add_typer(data.data_app, name="data", rich_help_panel=_MODEL)
app.command(rich_help_panel=_MODEL)(data.prepare)
app.command(rich_help_panel=_MODEL)(model.train)
app.command(rich_help_panel=_MODEL)(model.evaluate)
app.command(rich_help_panel=_MODEL)(grid.grid)
app.command(rich_help_panel=_MODEL)(text.text_probe)
app.command(rich_help_panel=_SERVICES)(serve.up)
app.add_typer(call.items_app, name="items", rich_help_panel=_SERVICES)
app.add_typer(call.events_app, name="events", rich_help_panel=_SERVICES)
app.add_typer(bundles.app, name="bundles", rich_help_panel=_MODEL)
bundles.app.add_typer(variants.app, name="variant")
app.add_typer(db.app, name="db", rich_help_panel=_SERVICES)
app.add_typer(certs.certs_app, name="certs", rich_help_panel=_SERVICES)
app.add_typer(certs.tokens_app, name="tokens", rich_help_panel=_SERVICES)
app.add_typer(profiles.app, name="profiles", rich_help_panel=_SERVICES)
app.add_typer(users.app, name="users", rich_help_panel=_SERVICES)
app.command(cls=IdCommand, rich_help_panel=_SERVICES)(call.recommend)
app.command(rich_help_panel=_SERVICES)(recommend_all.recommend_all)
app.command(cls=IdCommand, rich_help_panel=_SERVICES)(call.similar)
app.command(cls=IdCommand, rich_help_panel=_SERVICES)(explain.explain)
app.command(rich_help_panel=_SERVICES)(replay.replay)
app.command(rich_help_panel=_SERVICES)(outcomes.outcomes)
app.command(rich_help_panel=_SERVICES)(console.console)
app.command(rich_help_panel=_SERVICES)(bench.bench)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"groundswell {version('groundswell')}")
        raise typer.Exit


@app.callback()
def _all_commands(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line; an error that the user can correct is one line, with status 1 or 2."""
    broken = next((text for text in sys.argv[1:] if not _is_text(text)), None)
    if broken is not None:
        shown = broken.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        sys.stderr.write(f"groundswell: the argument '{shown}' is not UTF-8: rename the file, or ")
        sys.stderr.write("write the text in UTF-8\n")
        sys.exit(EXIT_USAGE)
    try:
        app()
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        sys.stderr.write(f"groundswell: {line}\n")
        sys.exit(EXIT_FAILED)


def _is_text(argument: str) -> bool:
    """Whether an argument could be read: Python escapes bytes that are not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)
