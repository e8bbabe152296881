"""The command that helps to decide between text encoders: text-probe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundswell.cli.commands.options import Device, JsonFile, Separator, Settings
from groundswell.cli.interruption import says_when_interrupted

if TYPE_CHECKING:
    from rich.table import Table

    from groundswell.trainer.text_encoder.probe import Figure, ProbeRow


def text_probe(
    items: Annotated[
        Path, typer.Option(help="CSV or Parquet with item_id, title and categories, as `prepare`.")
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 0,
    splits: Annotated[
        int,
        typer.Option(
            min=1, max=20, help="How often to hold out a fifth of the items, another one each time."
        ),
    ] = 3,
    device: Device = "cpu",
    settings: Settings = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps trained encoders and vectors for later runs."),
    ] = None,
    json_file: JsonFile = None,
    separator: Separator = None,
) -> None:
    """Measure how well a text encoder separates the categories of held-out items.

    A logistic regression reads the text vectors of titles and descriptions. The encoder of the
    settings is compared with the default encoder and with the most frequent category. An encoder
    that is pre-trained here reads neither the categories nor the texts of the held-out items.
    """
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from groundswell.cli.imports.file_report import say_how_read, say_left_out
    from groundswell.logs.items import read_items
    from groundswell.trainer.config import parse_config
    from groundswell.trainer.dataset.disk import check_output, write_json
    from groundswell.trainer.text_encoder.probe import probe

    config, console = parse_config(settings or []), Console(stderr=True)
    check_output(json_file)
    catalogue = read_items(items, separator=separator)
    say_how_read(console, catalogue.notes, catalogue.ignored_columns)
    say_left_out(console, catalogue.left_out)
    next_step = (
        "nothing is kept; with --keep FOLDER an interrupted run can go on"
        if keep is None
        else f"the same command goes on from what {keep} holds"
    )
    with says_when_interrupted(lambda: next_step), TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        rows = probe(catalogue, config, folder, device, seed, splits, console)
    Console().print(_table(rows))
    write_json(json_file, {row.name: _plain(row) for row in rows})


def _plain(row: "ProbeRow") -> dict[str, object]:
    above = {name: figure._asdict() for name, figure in row.accuracy_above.items()}
    measured = {"accuracy": row.accuracy._asdict(), "macro_f1": row.macro_f1._asdict()}
    return {**measured, "accuracy_above": above}


def _table(rows: "list[ProbeRow]") -> "Table":
    from rich.table import Table

    table = Table(title="Category of held-out items, with 95 % intervals")
    table.add_column("")
    for name in ("accuracy", "macro F1", *(f"above the {row.name}" for row in rows[:-1])):
        table.add_column(name, justify="right")
    for row in rows:
        above = [_shown(figure, "+.3f") for figure in row.accuracy_above.values()]
        table.add_row(row.name, _shown(row.accuracy), _shown(row.macro_f1), *above)
    return table


def _shown(figure: "Figure", form: str = ".3f") -> str:
    return f"{figure.value:{form}} ({figure.low:{form}} to {figure.high:{form}})"
