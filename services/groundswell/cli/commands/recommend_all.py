"""The command that recommends to a whole population."""

from pathlib import Path
from typing import Annotated

import typer

from groundswell.cli.commands.options import RANKER_TARGET, RankerTarget, Separator
from groundswell.cli.interruption import says_when_interrupted


def recommend_all(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV or Parquet with a column user_id, such as a log of events; each user counts "
            "once.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    k: Annotated[int, typer.Option("--k", min=1, max=200, help="How many items.")] = 10,
    alpha: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Force the fusion weight α, as in `recommend`."),
    ] = None,
    where: Annotated[
        str, typer.Option("--filter", metavar="EXPRESSION", help="Only items that pass.")
    ] = "",
    separator: Separator = None,
    ranker: RankerTarget = RANKER_TARGET,
) -> None:
    """Recommend items to every user of a file, and write them to one Parquet file.

    A row for each user and item: the rank from 1, the score and its two parts, the fusion weight,
    the bundle and the degradations. Run it again after an interruption and it goes on where it
    stopped; until then the parts that are done are in the folder OUT.parts.
    """
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.display.progress import progress_bar
    from groundswell.cli.exports.recommendations import PopulationExport
    from groundswell.cli.failures import CommandError
    from groundswell.cli.imports.file_ids import ids_of_file
    from groundswell.cli.imports.file_report import check_all_taken
    from groundswell.client import Targets
    from groundswell.client.requests import RecommendOptions

    console = Console()
    found, num_left = ids_of_file(file, console, "user_id", separator)
    users = list(dict.fromkeys(found))
    if not users:
        raise CommandError(f"{file} names no user")
    options = RecommendOptions(page_size=k, filter=where)
    if alpha is not None:
        options["fusion_weight"] = alpha
    export = PopulationExport(out, users, options, ranker)
    with (
        says_when_interrupted(lambda: "the same command goes on where it stopped"),
        connected(Targets(ranker=ranker), "ranker") as client,
        progress_bar(console, "users") as update,
    ):
        export.run(client, lambda done: update(done, len(users)))
    for part in export.damaged:
        console.print(f"{part} was damaged, and was made again", soft_wrap=True)
    if export.num_without_items:
        console.print(f"{export.num_without_items:,} users got no item")
    console.print(f"{len(users):,} users written to {out}", soft_wrap=True)
    check_all_taken(file, num_left, num_left + len(found))
