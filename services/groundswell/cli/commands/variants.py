"""The commands on variants: a share of the users gets another bundle or fusion weight."""

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer

from groundswell.cli.commands.bundles import found_bundle, store_of
from groundswell.cli.commands.call import AsJson
from groundswell.cli.commands.options import Bundles
from groundswell.cli.failures import CommandError

app = typer.Typer(
    no_args_is_help=True, help="Give a share of the users another bundle or fusion weight."
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the variant.")]


@app.command("set")
def set_variant(
    name: _Name,
    bundles: Bundles,
    share: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="The share of the users, a multiple of .001.")
    ],
    bundle: Annotated[
        str, typer.Option(metavar="ID", help="The bundle that ranks. Without it, the current one.")
    ] = "",
    fusion_weight: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Forces α. Without it, the bundle decides."),
    ] = None,
) -> None:
    """Make or change a variant; running services follow within seconds.

    A variant that is changed keeps its users as far as its share allows, and the others keep all
    of theirs. The outcomes of each are in `groundswell outcomes --by variant`.
    """
    from pydantic import ValidationError

    from groundswell.artifacts.variants import Variant, Variants, read_variants, write_variants

    variants = read_variants(bundles)
    before = variants.variants
    same = next((one for one in before if one.name == name), None)
    bundle_id = _checked(bundles, bundle) if bundle else None
    try:
        slots = variants.slots_for(name, share, secrets.SystemRandom())
        made = Variant(name=name, slots=slots, bundle=bundle_id, fusion_weight=fusion_weight)
        kept = [made if one is same else one for one in before]
        found = Variants(variants=(*kept, *([made] if same is None else [])))
    except ValidationError as error:
        problems = "; ".join(one["msg"] for one in error.errors())
        raise CommandError(f"{name} cannot be set: {problems}") from error
    except ValueError as error:
        raise CommandError(f"{name} cannot be set: {error}") from error
    write_variants(bundles, found)
    typer.echo(f"{name} is given to a share of {share:g}")


@app.command()
def remove(name: _Name, bundles: Bundles) -> None:
    """Remove a variant: its users get the usual answers again."""
    from groundswell.artifacts.variants import Variants, read_variants, write_variants

    before = read_variants(bundles).variants
    left = tuple(one for one in before if one.name != name)
    if len(left) == len(before):
        raise CommandError(f"{bundles} has no variant {name}")
    write_variants(bundles, Variants(variants=left))
    typer.echo(f"{name} is removed")


@app.command("list")
def list_variants(bundles: Bundles, as_json: AsJson = False) -> None:
    """List the variants."""
    from groundswell.artifacts.variants import read_variants

    found = read_variants(bundles).variants
    if as_json:
        shown = [{**one.model_dump(exclude={"slots"}), "share": one.share} for one in found]
        typer.echo(json.dumps(shown, indent=2))
        return
    for one in found:
        weight = "" if one.fusion_weight is None else f"  α {one.fusion_weight:g}"
        typer.echo(f"{one.name}  {one.share:.1%}  {one.bundle or 'current bundle'}{weight}")


def _checked(bundles: Path, name: str) -> str:
    """Return the id of a bundle that begins like this, after a check of its files."""
    store = store_of(bundles)
    bundle_id = found_bundle(store, name)
    store.load(bundle_id)
    return bundle_id
