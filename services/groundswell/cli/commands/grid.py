"""The command that compares settings of a training: grid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from groundswell.cli.commands.options import Prepared
from groundswell.cli.interruption import says_when_interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from groundswell.trainer.grid import Row


def grid(
    data: Prepared,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder that keeps each training's bundle; the same command goes on from there."
        ),
    ],
    tried: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="KEY=VALUE,VALUE",
            help="Values of a setting to try. Of several settings, all combinations are tried.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of every training, as in `train`."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="How many trainings of each: seeds 0, 1, ...")
    ] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file as JSON.")
    ] = None,
) -> None:
    """Try settings: train with each combination, and compare the results on validation.

    The first row has the settings of --set alone. A difference compares trainings with the same
    seed; with several seeds it has a standard error. No test event is read: evaluate the bundle of
    the row that you choose, once.
    """
    import json

    from rich.console import Console

    from groundswell.trainer.dataset.disk import check_output
    from groundswell.trainer.dataset.prepared import load_prepared
    from groundswell.trainer.grid import try_settings, verdict

    check_output(json_file)
    with says_when_interrupted(lambda: "the same command goes on where it stopped"):
        rows = try_settings(
            load_prepared(data),
            out,
            settings or [],
            tried or [],
            range(seeds),
            device,
            Console(stderr=True),
        )
    Console().print(_table(rows))
    typer.echo(verdict(rows))
    if json_file is not None:
        json_file.write_text(
            json.dumps([_plain(row) for row in rows], indent=2) + "\n", encoding="utf-8"
        )


def _plain(row: "Row") -> dict[str, object]:
    return {**row._asdict(), "bundles": [str(folder) for folder in row.bundles]}


def _table(rows: "Sequence[Row]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from groundswell.trainer.grid import MODELS

    table = Table(title="Validation NDCG@10, and how much it is above the first row")
    table.add_column("settings", overflow="fold")
    for name in (*MODELS, "minutes"):
        table.add_column(name, justify="right")
    for row in rows:
        compared = [_shown(row, rows[0], model) for model in MODELS]
        table.add_row(
            escape(row.name), *compared, f"{sum(row.seconds) / len(row.seconds) / 60:.1f}"
        )
    return table


def _shown(row: "Row", first: "Row", model: str) -> str:
    values = row.ndcg[model]
    mean = f"{sum(values) / len(values):.4f}"
    if row is first:
        return mean
    more, error = row.above(first, model)
    return f"{mean} ({more:+.4f}{'' if error is None else f' ± {error:.4f}'})"
