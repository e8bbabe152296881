"""The command that helps to decide between text encoders: text-probe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from groundswell.cli.commands.options import Separator
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
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the encoder runs.")] = "cpu",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="The encoder to try, as in `train`; may be repeated."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps trained encoders and vectors for later runs."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file as JSON.")
    ] = None,
    separator: Separator = None,
) -> None:
    """Measure how well a text encoder separates the categories of held-out items.

    A logistic regression reads the text vectors of titles and descriptions. The encoder of the
    settings is compared with the default encoder and with the most frequent category. An encoder
    that is pre-trained here reads neither the categories nor the texts of the held-out items.
    """
    import json
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from groundswell.cli.imports.file_report import say_how_read, say_left_out
    from groundswell.logs.items import read_items
    from groundswell.trainer.config import parse_config
    from groundswell.trainer.dataset.disk import check_output
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
    if json_file is not None:
        figures = {row.name: _plain(row) for row in rows}
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


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
