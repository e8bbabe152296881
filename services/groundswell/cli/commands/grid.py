"""The command that compares settings of a training: grid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundswell.cli.commands.options import Device, JsonFile, Prepared, Settings
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
    settings: Settings = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="How many trainings of each: seeds 0, 1, ...")
    ] = 1,
    device: Device = "cpu",
    json_file: JsonFile = None,
) -> None:
    """Try settings: train with each combination, and compare the results on validation.

    The first row has the settings of --set alone. A difference compares trainings with the same
    seed; with several seeds it has a standard error. No test event is read: evaluate the bundle of
    the row that you choose, once.
    """
    from rich.console import Console

    from groundswell.trainer.dataset.disk import check_output, write_json
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
    write_json(json_file, [_plain(row) for row in rows])


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
