"""The command that calls running services at growing rates, and shows how they answer."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundswell.cli.commands.options import (
    PROFILE_TARGET,
    RANKER_TARGET,
    SESSION_TARGET,
    JsonFile,
    ProfileTarget,
    RankerTarget,
    Separator,
    SessionTarget,
)
from groundswell.cli.interruption import says_when_interrupted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from groundswell.cli.load.curve import Step
    from groundswell.client import Targets

_NUM_USERS, _NUM_ITEMS = 1_000, 1_000


def bench(
    mix: Annotated[
        str,
        typer.Option(
            metavar="KIND=SHARE,…",
            help="The calls, of recommend, similar, interests, encode and record. record writes "
            "events of users of its own into the services.",
        ),
    ] = "recommend=9,similar=1",
    users: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet with a column user_id, such as a log: ask for these users. "
            f"Without it, for {_NUM_USERS:,} that the services do not know.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Calls a second at the beginning.")] = 20.0,
    growth: Annotated[
        float, typer.Option(min=1.05, max=10, help="By which each step multiplies the rate.")
    ] = 1.5,
    max_rate: Annotated[float, typer.Option(min=0.1, max=100_000)] = 20_000.0,
    step_s: Annotated[
        float, typer.Option("--seconds", min=0.1, max=3_600, help="How long a step lasts.")
    ] = 10.0,
    warm_up_s: Annotated[
        float, typer.Option("--warm-up", min=0, max=3_600, help="Seconds that are not counted.")
    ] = 5.0,
    max_s: Annotated[
        float, typer.Option("--max-seconds", min=1, max=86_400, help="For all steps together.")
    ] = 300.0,
    deadline_s: Annotated[
        float,
        typer.Option("--deadline", min=0.001, max=60, help="Seconds until an answer is too late."),
    ] = 1.0,
    json_file: JsonFile = None,
    png: Annotated[Path | None, typer.Option(help="Draw the curve into this file.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Load services of other machines, too.")
    ] = False,
    separator: Separator = None,
    ranker: RankerTarget = RANKER_TARGET,
    session: SessionTarget = SESSION_TARGET,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Call running services at growing rates, until they no longer answer in time.

    Calls start at a constant rate, whatever became of those before, and a latency counts from when
    its call was due. The last step is the first one with less than 90 % of answers in time.
    """
    import asyncio
    import json

    from rich.console import Console

    from groundswell.cli.connection import client_options
    from groundswell.cli.display.progress import progress_bar
    from groundswell.cli.load import curve
    from groundswell.cli.load.mix import drawn
    from groundswell.client import AsyncGroundswellClient, Deadlines, Targets

    if png is not None:
        from groundswell.cli.load.plot import draw  # before minutes of measuring, if it is missing
    shares, targets = _shares(mix), Targets(ranker=ranker, session=session, profile=profile)
    console = Console()
    items = _checked(shares, targets, yes=yes)
    names = _users(users, console, separator)
    plan = curve.LoadPlan(rate, growth, max_rate, step_s, warm_up_s, max_s, deadline_s)
    if not plan.rates():
        raise typer.BadParameter("no step fits: raise --max-seconds or --max-rate")

    async def run() -> "list[Step]":
        async with AsyncGroundswellClient(
            targets,
            deadlines=Deadlines(read_s=deadline_s, write_s=deadline_s),
            throttling=False,
            **client_options(),
        ) as client:
            with progress_bar(console, "calls") as update:
                ask = drawn(client, shares, names, items)
                return await curve.measure(ask, plan, lambda done: update(done, 0))

    with says_when_interrupted(lambda: "what was measured is lost; fewer --seconds take less time"):
        steps = asyncio.run(run())
    console.print(_table(steps))
    if json_file is not None:
        text = json.dumps(curve.report(steps, plan, mix=shares), indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")
    if png is not None:
        draw(steps, mix, png)


def _shares(mix: str) -> dict[str, float]:
    """Read the option --mix."""
    from groundswell.cli.load.mix import SERVICES

    shares: dict[str, float] = {}
    for part in mix.split(","):
        kind, _, share = part.partition("=")
        try:
            shares[kind.strip()] = float(share or 1)
        except ValueError:
            shares[kind.strip()] = -1
    if not shares.keys() <= SERVICES.keys() or not all(0 < s < 1e6 for s in shares.values()):
        message = f"KIND=SHARE,… with kinds of {', '.join(SERVICES)}, and shares above 0"
        raise typer.BadParameter(message, param_hint="--mix")
    return shares


def _checked(shares: dict[str, float], targets: "Targets", *, yes: bool) -> list[str]:
    """Return items to call for. Raises CommandError for services that may not be loaded."""
    from itertools import islice

    from groundswell.cli.connection import connected
    from groundswell.cli.failures import CommandError
    from groundswell.cli.load.mix import NEED_ITEMS, SERVICES
    from groundswell.client.secured import is_loopback

    for service in sorted({SERVICES[kind] for kind in shares}):
        address = getattr(targets, service)
        if not yes and not is_loopback(address):
            raise CommandError(
                f"--{service} {address} is not of this machine: a load may take down what others "
                "use; say --yes if you mean it"
            )
        with connected(targets, service) as client:  # type: ignore[arg-type] # one of three names
            client.model(service)  # type: ignore[arg-type]
    if not any(kind in shares for kind in NEED_ITEMS):
        return []
    with connected(targets, "profile") as client:
        items = [item.item_id for item in islice(client.list_items(), _NUM_ITEMS)]
    if not items:
        raise CommandError("the catalogue has no items, which the calls of --mix need")
    return items


def _users(file: Path | None, console: "Console", separator: str | None) -> list[str]:
    from groundswell.cli.failures import CommandError
    from groundswell.cli.imports.file_ids import ids_of_file

    if file is None:
        return [f"groundswell-bench-{number}" for number in range(_NUM_USERS)]
    found, _ = ids_of_file(file, console, "user_id", separator)
    if not found:
        raise CommandError(f"{file} names no user")
    return list(dict.fromkeys(found))


def _table(steps: "list[Step]") -> "Table":
    from rich.table import Table

    columns = ("calls/s", "in time/s", "p50 ms", "p90 ms", "p99 ms", "driver late ms")
    table = Table()
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("what became of the calls")
    for step in steps:
        latencies = (step.latency_ms.get(name, math.nan) for name in ("p50", "p90", "p99"))
        figures = (step.rate, step.goodput, *latencies, step.start_late_ms)
        ends = {**step.outcomes, **step.degradations}
        said = ", ".join(f"{count:,} {name}" for name, count in ends.items())
        table.add_row(*(f"{figure:,.1f}" for figure in figures), said)
    return table
