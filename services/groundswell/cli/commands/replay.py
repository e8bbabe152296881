"""The command that makes an answer again from its attribution token."""

from pathlib import Path
from typing import Annotated

import typer

from groundswell.cli.commands.call import AsJson, print_json
from groundswell.cli.commands.options import RANKER_TARGET, RankerTarget
from groundswell.cli.failures import CommandError


def replay(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="The `attribution_token` of the answer.")
    ],
    request: Annotated[
        Path,
        typer.Argument(
            metavar="REQUEST.json", exists=True, dir_okay=False, help="The request, as JSON."
        ),
    ],
    as_json: AsJson = False,
    ranker: RankerTarget = RANKER_TARGET,
) -> None:
    """Make an answer again, and say whether the list is the same and what has changed since.

    The request is a RecommendRequest of the contract, in the JSON form of protobuf.
    """
    from google.protobuf.json_format import Parse, ParseError
    from rich.console import Console

    from groundswell.cli.connection import connected
    from groundswell.cli.display import answers
    from groundswell.client import Targets
    from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest

    try:
        asked = Parse(request.read_bytes(), RecommendRequest())
    except (ParseError, UnicodeDecodeError) as error:
        raise CommandError(f"{request} is no RecommendRequest: {error}") from error
    with connected(Targets(ranker=ranker), "ranker") as client:
        answer = client.replay(token, asked)
    if as_json:
        print_json(answer)
        return
    Console().print(answers.recommendations(answer.answer))
    typer.echo("the list is the same" if answer.same_list else "the list is another one")
    for line in answers.changes(answer):
        typer.echo(f"changed: {line}")
