"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Prepared = Annotated[Path, typer.Option("--data", help="The folder that `prepare` wrote.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the figures to this file as JSON.")
]
LogFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="CSV or Parquet, or a folder of parts, as `prepare` reads it."
    ),
]
Bundles = Annotated[
    Path,
    typer.Option(help="Folder of bundles; `current` in it names the one that is served."),
]
ProfileTarget = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="HOST:PORT",
        envvar="GROUNDSWELL_PROFILE_ADDRESS",
        help="Where the profile service listens.",
    ),
]
SessionTarget = Annotated[
    str,
    typer.Option(
        "--session",
        metavar="HOST:PORT",
        envvar="GROUNDSWELL_SESSION_ADDRESS",
        help="Where the session service listens.",
    ),
]
RankerTarget = Annotated[
    str,
    typer.Option(
        "--ranker",
        metavar="HOST:PORT",
        envvar="GROUNDSWELL_RANKER_ADDRESS",
        help="Where the ranker service listens.",
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="The character between the columns of CSV, such as ';' or tab. Without it, the "
        "comma, tab, semicolon or bar with which the header has the required columns.",
    ),
]
AttributeKinds = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=KIND",
        help="The kind of an attribute: number, flag, text or texts (a list, separated by |). "
        "Without it, a column of text is numbers only if writing every number gives its text "
        "again. May be repeated.",
    ),
]
PROFILE_TARGET = "127.0.0.1:50051"
SESSION_TARGET = "127.0.0.1:50052"
RANKER_TARGET = "127.0.0.1:50053"
