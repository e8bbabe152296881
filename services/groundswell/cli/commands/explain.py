"""The command that explains why a user is recommended an item, or not."""

from typing import Annotated

import typer

from groundswell.cli.commands.call import AsJson, print_json
from groundswell.cli.commands.options import RANKER_TARGET, RankerTarget


def explain(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The id of the user, as your events name it.")
    ],
    item: Annotated[
        str, typer.Argument(metavar="ITEM", help="The id of the item, as your catalogue names it.")
    ],
    k: Annotated[int, typer.Option("--k", min=1, max=200, help="How many items a page has.")] = 10,
    where: Annotated[
        str, typer.Option("--filter", metavar="EXPRESSION", help="As of `recommend`.")
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            "--token",
            metavar="TOKEN",
            help="The attribution token of the answer, if its fusion weight was drawn at random.",
        ),
    ] = "",
    as_json: AsJson = False,
    ranker: RankerTarget = RANKER_TARGET,
) -> None:
    """Say why `recommend` gives a user an item, or which rule keeps it out."""
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.display.explanation import explanation
    from groundswell.client import Targets
    from groundswell.client.requests import recommend_request

    request = recommend_request(user, page_size=k, filter=where)
    with connected(Targets(ranker=ranker), "ranker") as client:
        answer = client.explain_item(request, item, attribution_token=token)
    if as_json:
        print_json(answer)
    else:
        Console().print(explanation(answer))
