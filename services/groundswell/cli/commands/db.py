"""The commands on a database: after a restore, and to change its secret."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from groundswell.cli.failures import CommandError
from groundswell.cli.interruption import says_when_interrupted

app = typer.Typer(no_args_is_help=True, help="Maintain the database of the profile service.")

T = TypeVar("T")

StateFolder = Annotated[
    Path | None,
    typer.Option("--state", help="The state folder of a `groundswell up` that is not running."),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="GROUNDSWELL_DATABASE_URL",
        metavar="URL",
        help="The URL of the database, as in the settings of the profile service.",
    ),
]


@app.command()
def restored(state: StateFolder = None, database_url: DatabaseUrl = None) -> None:
    """Mark a database as restored from a backup; needed after every restore.

    Rankers, session services and lists that are being paged through hold data from before the
    restore; they then start over. docs/restore.md says why.
    """
    from groundswell.profile_service.identity.upkeep import begin_new_lineage

    with _database(state, database_url) as (url, _):
        lineage = _run(begin_new_lineage(url))
    typer.echo(
        f"The database begins the lineage {lineage}: everything that holds older data starts over."
    )


@app.command()
def rotate_secret(state: StateFolder = None, database_url: DatabaseUrl = None) -> None:
    """Change the secret that the keys of users are made with: rewrite every key.

    With --state it makes the new secret itself. Else set GROUNDSWELL_SECRET to the new one and
    GROUNDSWELL_PREVIOUS_SECRETS to those before, oldest first, and restart every process with them
    first; services can run meanwhile. It can be ended at any moment and run again.
    docs/secrets.md says what the old secret still reveals.
    """
    from rich.console import Console

    from groundswell.profile_service.identity.upkeep import rotate_secret as rewrite

    with (
        says_when_interrupted(lambda: "the same command goes on where it stopped"),
        _database(state, database_url) as (url, secrets),
        _progress(Console(stderr=True)) as on_progress,
    ):
        num_users = _run(rewrite(url, secrets(), on_progress))
    typer.echo(f"All {num_users:,} users are stored under the newest secret.")


@contextmanager
def _database(
    state: Path | None, url: str | None
) -> Iterator[tuple[str, Callable[[], tuple[str, ...]]]]:
    """Give the database's URL, and what makes or finds the secrets to rewrite it for."""
    from groundswell.cli.suite.state import State

    if state is not None:
        if not (state / "groundswell.db").exists():
            raise CommandError(f"{state} holds no database; `groundswell up` makes one there")
        with State(state) as opened:
            yield opened.database_url, lambda: _secrets_of(opened)
    elif url:
        _check_url(url)
        yield url, _secrets_of_the_environment
    else:
        raise CommandError("name the database: --state FOLDER, or --database-url URL")


def _check_url(url: str) -> None:
    from pydantic import ValidationError

    from groundswell.profile_service.settings import DatabaseSettings

    try:
        DatabaseSettings(database_url=url)
    except ValidationError as error:
        (problem,) = error.errors(include_input=False)
        raise CommandError(str(problem["msg"]).removeprefix("Value error, ")) from None


def _secrets_of(state: Any) -> tuple[str, ...]:
    """Return the secrets of a state, with a new one unless it has one that is not in use yet."""
    from groundswell.profile_service.identity.upkeep import needs_new_secret

    if _run(needs_new_secret(state.database_url, state.secrets())):
        state.add_secret()
    secrets: tuple[str, ...] = state.secrets()
    return secrets


def _secrets_of_the_environment() -> tuple[str, ...]:
    from groundswell.serving.settings import SecretSettings, load_settings

    return load_settings(SecretSettings).secrets


@contextmanager
def _progress(console: Any) -> Iterator[Callable[[int, int], None]]:
    from groundswell.cli.display.progress import progress_bar
    from groundswell.profile_service.identity.upkeep import every_half_minute

    if console.is_terminal:
        with progress_bar(console, "users") as update:
            yield update
    else:
        yield every_half_minute(lambda done, of: console.print(f"{done:,} of {of:,} users"))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; what goes wrong becomes a CommandError."""
    from groundswell.serving.errors import ServiceError
    from groundswell.serving.server import StartError
    from groundswell.serving.telemetry import set_up_logging

    set_up_logging("ERROR", "console", final=False)
    try:
        return asyncio.run(work)
    except (StartError, ServiceError) as error:
        raise CommandError(str(error)) from error
