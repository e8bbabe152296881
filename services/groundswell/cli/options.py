"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Prepared = Annotated[Path, typer.Option("--data", help="The folder that `prepare` wrote.")]
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
RankerTarget = Annotated[
    str,
    typer.Option(
        "--ranker",
        metavar="HOST:PORT",
        envvar="GROUNDSWELL_RANKER_ADDRESS",
        help="Where the ranker service listens.",
    ),
]
PROFILE_TARGET = "127.0.0.1:50051"
RANKER_TARGET = "127.0.0.1:50053"
