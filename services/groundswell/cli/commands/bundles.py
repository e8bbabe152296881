"""The commands on a folder of bundles: list them, serve one, go back to the one before."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundswell.cli.commands.call import AsJson
from groundswell.cli.commands.options import Bundles
from groundswell.cli.failures import CommandError

if TYPE_CHECKING:
    from groundswell.artifacts.store import BundleStore

app = typer.Typer(no_args_is_help=True, help="List bundles, and choose the one to serve.")


@app.command("list")
def list_bundles(
    bundles: Bundles,
    as_json: AsJson = False,
    ranker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ask this ranker which bundle it refused, and why."),
    ] = None,
) -> None:
    """List the bundles of a folder, the newest first, with their figures of validation.

    It reads their manifests alone; `promote` and the services check every file.
    """
    from rich.console import Console

    from groundswell.cli.display.bundles import bundle_rows, table

    rows = bundle_rows(store_of(bundles), _problems(ranker) if ranker else {})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        Console().print(table(rows))


@app.command()
def promote(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The bundle, or the beginning of its id if no other has it."
        ),
    ],
    bundles: Bundles,
) -> None:
    """Put a bundle into service, after a check of every file of it.

    Running services load it beside the one that they serve, and swap when all hold it.
    """
    _promote(store_of(bundles), bundle)


@app.command()
def rollback(bundles: Bundles) -> None:
    """Put the bundle that was current before into service again.

    A second rollback goes forward again. Running services still hold the bundle before, so they
    swap at once.
    """
    store = store_of(bundles)
    previous = store.previous()
    if previous is None or previous == store.current():
        raise CommandError(
            f"no bundle was current in {bundles} before this one; `groundswell bundles promote ID` "
            "puts any other into service"
        )
    _promote(store, previous)


def _problems(ranker: str) -> dict[str, str]:
    """Return why a ranker does not serve bundles, by their ids."""
    from groundswell.cli.connection import connected
    from groundswell.client import Targets

    with connected(Targets(ranker=ranker), "ranker") as client:
        return {one.bundle_id: one.problem for one in client.model("ranker").refused_bundles}


def store_of(bundles: Path) -> "BundleStore":
    """Return the store in a folder. Raises CommandError without one."""
    from groundswell.artifacts.store import BundleStore

    if not bundles.is_dir():
        raise CommandError(f"there is no folder {bundles}")
    return BundleStore(bundles)


def _promote(store: "BundleStore", name: str) -> None:
    bundle_id = found_bundle(store, name)
    store.load(bundle_id)
    before = store.current()
    store.set_current(bundle_id)
    if before == bundle_id:
        typer.echo(f"{bundle_id} is in service already")
    else:
        typer.echo(f"{bundle_id} is current" + (f", in the place of {before}" if before else ""))


def found_bundle(store: "BundleStore", name: str) -> str:
    """Return the id of the one bundle whose id begins like this."""
    found = [bundle_id for bundle_id in store.manifests() if bundle_id.startswith(name)]
    if name in found:
        return name
    if not found:
        # A folder of this very name may be a bundle that is damaged: loading it says how.
        if name and "/" not in name and store.path(name).is_dir():
            return name
        raise CommandError(f"{store.root} holds no bundle {name}")
    if len(found) > 1:
        raise CommandError(f"several bundles begin with {name}: {', '.join(found)}")
    return found[0]
