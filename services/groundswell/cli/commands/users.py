"""The commands on the data of one person: count, export and erase what is held."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from groundswell.cli.commands.call import AsJson, print_json
from groundswell.cli.commands.options import PROFILE_TARGET, ProfileTarget
from groundswell.cli.failures import CommandError

if TYPE_CHECKING:
    from groundswell.profile.v1.user_data_service_pb2 import EraseUserResponse

app = typer.Typer(
    no_args_is_help=True, help="Count, export or erase what is held of a person: docs/privacy.md."
)


class _Subject(TypedDict):
    """Whom a command is about: one of the two is empty."""

    user_id: str
    session_id: str


IdFile = Annotated[
    Path | None,
    typer.Option(
        "--id-file",
        metavar="FILE",
        help="The file with the user's id, as one line in UTF-8. Without it the id is asked for or "
        "read from standard input: so it is in no list of processes and in no shell's history.",
    ),
]
IsSession = Annotated[
    bool, typer.Option("--session", help="The id is that of an anonymous session.")
]


@app.command()
def count(
    id_file: IdFile = None,
    session: IsSession = False,
    as_json: AsJson = False,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Count the rows that are held of a user, and erase nothing."""
    from groundswell.cli.connection import connected
    from groundswell.client import Targets

    named = _named(id_file, session)
    with connected(Targets(profile=profile), "profile") as client:
        _print(client.erase_user(**named, count_only=True), as_json)


@app.command()
def export(
    id_file: IdFile = None,
    session: IsSession = False,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Print everything that is held of a user as lines of JSON, each with one part."""
    from google.protobuf.json_format import MessageToJson

    from groundswell.cli.connection import connected
    from groundswell.client import Targets

    named = _named(id_file, session)
    with connected(Targets(profile=profile), "profile") as client:
        for part in client.export_user(**named):
            typer.echo(MessageToJson(part, preserving_proto_field_name=True, indent=None))


@app.command()
def erase(
    id_file: IdFile = None,
    session: IsSession = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask no question.")] = False,
    extract: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PLACE",
            help="Also take the user out of this log (Parquet or CSV), or of this folder that "
            "`prepare` wrote; may be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Erase a user or an anonymous session, and print the receipt.

    It counts first, and asks. It can be ended at any moment and run again. What it does not reach:
    backups of the database, logs and prepared folders without --extract, and what models learned
    from all users together. docs/privacy.md says more.
    """
    from groundswell.cli.connection import connected
    from groundswell.client import Targets

    named = _named(id_file, session)
    user_id = named["user_id"]
    if extract and session:
        raise typer.BadParameter("it is for users, not for sessions", param_hint="--extract")
    with connected(Targets(profile=profile), "profile") as client:
        if not yes:
            _print(client.erase_user(**named, count_only=True), as_json=False)
            _confirm(id_file)
        receipt = client.erase_user(**named)
    _print(receipt, as_json)
    if extract:
        from groundswell.trainer.dataset.without_user import take_out

        for place in extract:
            num_events = take_out(place, user_id)
            typer.echo(f"{num_events:,} events taken out of {place}", err=True)
    if not receipt.kept_outside:
        typer.echo(
            "The tombstone is in the database alone: a backup of before brings the user back. Set "
            "GROUNDSWELL_ERASURES for the profile service.",
            err=True,
        )


def _named(id_file: Path | None, session: bool) -> _Subject:
    """Read the id, and return the arguments that name it."""
    if id_file is not None:
        subject = _only_line(id_file.read_bytes())
    elif sys.stdin.isatty():
        subject = typer.prompt("id", hide_input=True)
    else:
        subject = _only_line(sys.stdin.buffer.read())
    if not subject:
        raise CommandError("no id was given: its line is empty")
    return {"user_id": "" if session else subject, "session_id": subject if session else ""}


def _only_line(given: bytes) -> str:
    """Return the one line; an id may hold every other character that separates lines somewhere."""
    try:
        line = given.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CommandError("the id is not UTF-8") from None
    if "\n" in line:
        raise CommandError("more than one line was given; a call is about one id")
    return line


def _confirm(id_file: Path | None) -> None:
    if id_file is None and not sys.stdin.isatty():
        raise CommandError("standard input gave the id, so nobody can answer: use --yes")
    typer.confirm("Erase all of this for ever?", abort=True)


def _print(answer: "EraseUserResponse", as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    if not any(one.num_rows for one in answer.stores):
        typer.echo("Nothing is held under this id: is it the right one?", err=True)
    for one in answer.stores:
        typer.echo(f"{one.store:<16} {one.num_rows:>10,}")
    if answer.erasure_id:
        typer.echo(f"erased as {answer.erasure_id} at {answer.erased_at.ToJsonString()}")
