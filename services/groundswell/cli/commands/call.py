"""The commands that call running services: recommend, similar, items, events."""

from pathlib import Path
from typing import Annotated, Any

import typer

from groundswell.cli.commands.ids import IdCommand
from groundswell.cli.commands.options import (
    PROFILE_TARGET,
    RANKER_TARGET,
    AttributeKinds,
    LogFile,
    ProfileTarget,
    RankerTarget,
    Separator,
)
from groundswell.cli.interruption import says_when_interrupted

events_app = typer.Typer(no_args_is_help=True, help="Import what users did.")
items_app = typer.Typer(no_args_is_help=True, help="Import and delete what can be recommended.")

AsJson = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]


def recommend(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The id of the user, as your events name it.")
    ],
    k: Annotated[int, typer.Option("--k", min=1, max=200, help="How many items.")] = 10,
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Force the fusion weight α: 1 ranks by the short-term vector alone, 0 by the "
            "long-term vector alone. Without it the bundle decides.",
        ),
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="EXPRESSION",
            help="Only items that pass, such as \"array_contains(categories, 'Comedy')\".",
        ),
    ] = "",
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The time of the request, in a form that `prepare` reads, such as ISO-8601. "
            "By default now. Useful for an old log.",
        ),
    ] = None,
    as_json: AsJson = False,
    ranker: RankerTarget = RANKER_TARGET,
) -> None:
    """Recommend items to a user, with the short and the long part of each score."""
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.display import answers
    from groundswell.client import Targets
    from groundswell.client.requests import RecommendOptions

    options = RecommendOptions(page_size=k, filter=where)
    if alpha is not None:
        options["fusion_weight"] = alpha
    if as_of is not None:
        options["as_of"] = seconds(as_of, "--as-of")
    with connected(Targets(ranker=ranker), "ranker") as client:
        answer = client.recommend(user, **options)
    if as_json:
        print_json(answer)
        return
    console = Console()
    console.print(answers.recommendations(answer))
    if answer.interests:
        console.print("interests:", answers.interests(answer.interests))


def similar(
    item: Annotated[
        str, typer.Argument(metavar="ITEM", help="The id of the item, as your catalogue names it.")
    ],
    k: Annotated[int, typer.Option("--k", min=1, max=200, help="How many items.")] = 10,
    as_json: AsJson = False,
    ranker: RankerTarget = RANKER_TARGET,
) -> None:
    """List the items that are nearest to an item."""
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.display import answers
    from groundswell.client import Targets

    with connected(Targets(ranker=ranker), "ranker") as client:
        answer = client.similar_items(item, page_size=k)
    if as_json:
        print_json(answer)
    else:
        Console().print(answers.similar_items(answer))


@events_app.command("import")
def import_events(
    file: LogFile,
    resume_file: Annotated[
        Path | None,
        typer.Option(
            help="The file that keeps the progress of an unfinished import. [FILE.import.json]"
        ),
    ] = None,
    separator: Separator = None,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Stream an event log into the running services.

    Rows that cannot be read, or that the services reject, are counted and listed, all others are
    stored; the status is 1 then. Run it again after an interruption and it goes on where it
    stopped. Rows without an event_id get one that is made of the row, so nothing is stored twice.
    """
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.imports.events import import_log
    from groundswell.client import Targets

    journal = resume_file or Path(f"{file.absolute()}.import.json")
    next_step = "the same command goes on where it stopped, and stores nothing twice"
    with (
        says_when_interrupted(lambda: next_step),
        connected(Targets(profile=profile), "profile") as client,
    ):
        import_log(client, Console(), file, journal, profile, separator)


@items_app.command("import")
def import_items(
    file: LogFile,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="The file is the whole catalogue: once all of it is written, other items are "
            "deleted. No item is deleted when a row was left out or refused.",
        ),
    ] = False,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once",
            help="Prepare all items aside and show them in one step, with the vectors of new ones. "
            "When any row is wrong, nothing changes.",
        ),
    ] = False,
    separator: Separator = None,
    attribute: AttributeKinds = None,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Write a catalogue into the running services; known items are replaced whole.

    Rows that cannot be read, or that the services refuse, are listed with their line, and the
    status is 1. All others are written; with --at-once none is. An attribute keeps the kind that
    the catalogue has it in.
    """
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.imports.items import import_each
    from groundswell.cli.imports.staged import import_at_once
    from groundswell.client import Targets
    from groundswell.logs.attributes import parse_kinds

    console, kinds = Console(), parse_kinds(attribute or [])
    with (
        says_when_interrupted(lambda: "run it again: what is written stays, and is written again"),
        connected(Targets(profile=profile), "profile") as client,
    ):
        run = import_at_once if at_once else import_each
        run(client, console, file, separator=separator, kinds=kinds, replace=replace)


@items_app.command("delete", cls=IdCommand)
def delete_items(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="Ids, as your catalogue names them.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with a column item_id: these as well.")
    ] = None,
    separator: Separator = None,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Delete items. They are no longer recommended; the events with them stay.

    Rows of the file without an id are listed; the status is 1 then. An id that the catalogue does
    not have is no error.
    """
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.imports.deletion import delete
    from groundswell.cli.imports.file_ids import ids_of_file
    from groundswell.cli.imports.file_report import check_all_taken
    from groundswell.client import Targets

    console = Console()
    of_file, num_left = (
        ([], 0) if file is None else ids_of_file(file, console, "item_id", separator)
    )
    with (
        says_when_interrupted(lambda: "run it again: what is deleted stays deleted"),
        connected(Targets(profile=profile), "profile") as client,
    ):
        delete(client, console, [*(ids or []), *of_file])
    if file is not None:
        check_all_taken(file, num_left, num_left + len(of_file))


def seconds(text: str, option: str) -> float:
    """Read the time that an option names, in seconds since 1970."""
    from groundswell.logs.times import parse_time

    try:
        return parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def print_json(message: Any) -> None:
    """Print a message as JSON, all its fields."""
    from google.protobuf.json_format import MessageToJson

    typer.echo(
        MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )
