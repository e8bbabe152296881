"""The command that shows what came of the recommendations."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from groundswell.cli.commands.call import AsJson, print_json, seconds
from groundswell.cli.commands.options import PROFILE_TARGET, ProfileTarget

if TYPE_CHECKING:
    from groundswell.profile.v1.outcome_service_pb2 import FusionPolicy

_GROUPS = ("bundle", "variant", "fusion_weight", "place")
_NORMAL = "normal:"


def outcomes(
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP", help=f"A row for each {', '.join(_GROUPS)}; may be repeated."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only answers of this time and later. Without it, the last 7 days."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only answers before this time.")
    ] = None,
    confirmed: Annotated[
        bool,
        typer.Option("--confirmed", help="Only answers of which a backend told what it showed."),
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY",
            help="Estimate from the answers with a random fusion weight how another policy would "
            "do: a weight (0.3), weights with probabilities (0.2=0.5,0.8=0.5), or "
            "normal:MEAN:DEVIATION. May be repeated.",
        ),
    ] = None,
    reward: Annotated[
        Literal["click", "purchase"], typer.Option(help="What --policy counts as a success.")
    ] = "click",
    as_json: AsJson = False,
    profile: ProfileTarget = PROFILE_TARGET,
) -> None:
    """Show how many of the recommended items were clicked and purchased.

    Events count for the answer whose attribution token they carry.
    """
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.display import outcomes as display
    from groundswell.client import Targets
    from groundswell.client.outcome_requests import SpanOptions

    groups = by or []
    for group in groups:
        if group not in _GROUPS or groups.count(group) > 1:
            message = f"each at most once: {', '.join(_GROUPS)}"
            raise typer.BadParameter(message, param_hint="--by")
    span = SpanOptions()
    if since is not None:
        span["since"] = seconds(since, "--since")
    if until is not None:
        span["until"] = seconds(until, "--until")
    policies = {text: _policy(text) for text in policy or []}
    with connected(Targets(profile=profile), "profile") as client:
        if not policies:
            answer = client.outcomes(groups, confirmed_only=confirmed, **span)
            if as_json:
                print_json(answer)
            else:
                Console().print(display.rates(answer, groups))
            return
        purchases = reward == "purchase"
        found = {
            text: client.estimate_policy(one, purchases=purchases, **span)
            for text, one in policies.items()
        }
    if as_json:
        for estimated in found.values():
            print_json(estimated)
    else:
        Console().print(display.policies(found, reward))


def _policy(text: str) -> "FusionPolicy":
    from groundswell.profile.v1 import outcome_service_pb2 as pb

    try:
        if text.startswith(_NORMAL):
            mean, deviation = map(float, text.removeprefix(_NORMAL).split(":"))
            return pb.FusionPolicy(normal=pb.FusionNormal(mean=mean, deviation=deviation))
        pairs = [part.partition("=") for part in text.split(",")]
        given = [float(probability) for _, sign, probability in pairs if sign]
        points = pb.FusionPoints(
            fusion_weights=[float(w) for w, _, _ in pairs], probabilities=given
        )
    except ValueError:
        message = f"{text!r} is none of 0.3, 0.2=0.5,0.8=0.5 and normal:0.5:0.1"
        raise typer.BadParameter(message, param_hint="--policy") from None
    if len(given) not in (0, len(pairs)):
        raise typer.BadParameter(f"{text!r} lacks a probability", param_hint="--policy")
    return pb.FusionPolicy(points=points)
