"""The commands that train a bundle and measure it: train, evaluate."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from groundswell.cli.commands.options import Bundles, Device, JsonFile, Prepared, Settings
from groundswell.cli.interruption import says_when_interrupted


def train(
    data: Prepared,
    bundles: Bundles,
    seed: Annotated[int, typer.Option(help="The same seed trains the same bundle.")] = 0,
    device: Device = "cpu",
    settings: Settings = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the last epoch of the run into --bundles that was interrupted, with "
            "the same data, settings and seed. The bundle is the same as without the "
            "interruption.",
        ),
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Write a trace of some steps to this folder, for chrome://tracing or Perfetto, "
            "and show which operations take the most time."
        ),
    ] = None,
) -> None:
    """Train every model on prepared data and publish them as one bundle.

    Prints the bundle's id, which `current` in the folder names from then on.

    `torchrun --nproc-per-node N --no-python groundswell train ...` trains with N processes at once,
    each on its share of every batch; with --device cuda each one has a GPU of its own.
    """
    from rich.console import Console

    from groundswell.trainer.config import parse_config
    from groundswell.trainer.dataset.prepared import load_prepared

    config = parse_config(settings or [])
    console = Console(stderr=True)
    prepared = load_prepared(data)
    # These import torch, which takes seconds: errors of the lines above are reported before.
    from groundswell.trainer.loop.distributed import is_first_process
    from groundswell.trainer.train import train as train_bundle

    with (
        says_when_interrupted(lambda: _how_to_go_on(bundles))
        if is_first_process()
        else nullcontext()
    ):
        bundle_id = train_bundle(
            prepared, bundles, config, device, seed, console, resume=resume, profile=profile
        )
    if is_first_process():
        typer.echo(bundle_id)


def _how_to_go_on(bundles: Path) -> str:
    from groundswell.trainer.loop.checkpoint import FILE

    if (bundles / FILE).exists():
        return "the same command with --resume goes on after the last epoch that was done"
    return "no epoch was done: run it again"


def evaluate(
    bundle: Annotated[
        Path,
        typer.Option(help="A bundle's folder, or a folder of bundles: its current one then."),
    ],
    data: Prepared,
    part: Annotated[
        Literal["test", "validation"], typer.Option(help="Whose targets to rank.")
    ] = "test",
    include_seen: Annotated[
        bool,
        typer.Option("--include-seen", help="Rank also the items that the user had before."),
    ] = False,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=BUNDLE[:MODEL]",
            help="Rank another bundle's model beside these, fused by default. May be repeated.",
        ),
    ] = None,
    items_of: Annotated[
        Path | None,
        typer.Option(
            metavar="PREPARED",
            help="Report the targets on the cold items of this other prepared folder separately, "
            "to see how they rank when they are trained. By default: the cold items of --data.",
        ),
    ] = None,
    json_file: JsonFile = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots to this folder: report.html.")
    ] = None,
) -> None:
    """Rank all items for every user's test event, as the services do, and measure the ranking.

    Compares the short and the long vector alone, the session alone, both with a constant weight,
    and the fusion that is served with popularity, recent popularity and item-kNN, which learn from
    the same training part. Reports bootstrap intervals, paired differences, slices, α and
    interests.
    """
    from rich.console import Console

    from groundswell.artifacts.store import load_bundle
    from groundswell.cli.commands.compared import parse_compared
    from groundswell.cli.display import metrics
    from groundswell.trainer.dataset.disk import check_output, check_writable, write_json
    from groundswell.trainer.dataset.prepared import load_prepared
    from groundswell.trainer.evaluation.evaluate import evaluate as evaluate_bundle
    from groundswell.trainer.loop.progress import working

    check_output(json_file)
    if report is not None:
        check_writable(report)
    opened, prepared = load_bundle(bundle), load_prepared(data)
    others = [parse_compared(text) for text in compare or []]
    with working(Console(stderr=True), "evaluating"):
        figures = evaluate_bundle(
            opened,
            prepared,
            include_seen=include_seen,
            part=part,
            compare=others,
            items_of=None if items_of is None else load_prepared(items_of),
        )
    Console().print(metrics.table(figures))
    write_json(json_file, figures)
    if report is not None:
        # Its plots need libraries that take seconds to import.
        from groundswell.trainer.evaluation.report.page import write_page

        typer.echo(f"the report as a page: {write_page(report, figures, opened, prepared)}")
