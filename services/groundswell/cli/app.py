"""Every command of `groundswell`, and how their errors are told."""

import sys

import typer

from groundswell.cli import (
    call_commands,
    db_commands,
    grid_commands,
    model_commands,
    serve_commands,
    text_commands,
)
from groundswell.cli.failures import one_line
from groundswell.cli.ids import IdCommand

EXIT_FAILED, EXIT_USAGE = 1, 2

app = typer.Typer(
    name="groundswell",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommendations from two views of a user: what they always liked, and what they do now.",
)

_MODEL = "From a log to a bundle"
_SERVICES = "Running and asking the services"

app.command()(serve_commands.demo)
app.add_typer(model_commands.data_app, name="data", rich_help_panel=_MODEL)
app.command(rich_help_panel=_MODEL)(model_commands.prepare)
app.command(rich_help_panel=_MODEL)(model_commands.train)
app.command(rich_help_panel=_MODEL)(model_commands.evaluate)
app.command(rich_help_panel=_MODEL)(grid_commands.grid)
app.command(rich_help_panel=_MODEL)(text_commands.text_probe)
app.command(rich_help_panel=_SERVICES)(serve_commands.up)
app.add_typer(call_commands.items_app, name="items", rich_help_panel=_SERVICES)
app.add_typer(call_commands.events_app, name="events", rich_help_panel=_SERVICES)
app.add_typer(db_commands.app, name="db", rich_help_panel=_SERVICES)
app.command(cls=IdCommand, rich_help_panel=_SERVICES)(call_commands.recommend)
app.command(cls=IdCommand, rich_help_panel=_SERVICES)(call_commands.similar)


def run() -> None:
    """Run the command line; what the user can mend is one line, and status 1 or 2."""
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
