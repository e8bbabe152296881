"""The commands on a database: after a restore, and to change its secret."""

import asyncio

import typer

from groundswell.cli.database import DatabaseUrl, StateFolder, chosen_database
from groundswell.cli.interruption import says_when_interrupted

app = typer.Typer(no_args_is_help=True, help="Maintain the database of the profile service.")


@app.command()
def restored(state: StateFolder = None, database_url: DatabaseUrl = None) -> None:
    """Mark a database as restored from a backup; needed after every restore.

    Rankers, session services and lists that are being paged through hold data from before the
    restore; they then start over. docs/restore.md says why.
    """
    from groundswell.profile_service.upkeep import begin_new_lineage

    with chosen_database(state, database_url) as chosen:
        lineage = asyncio.run(begin_new_lineage(chosen.url))
    typer.echo(
        f"The database begins the lineage {lineage}: everything that holds older data starts over."
    )


@app.command()
def rotate_secret(state: StateFolder = None, database_url: DatabaseUrl = None) -> None:
    """Change the secret that the keys of users are made with: rewrite every key.

    With --state it makes the new secret itself. Else set GROUNDSWELL_SECRET to the new one and
    GROUNDSWELL_PREVIOUS_SECRETS to those before, oldest first, and restart the profile services
    with them first; services can run meanwhile. It can be ended at any moment and run again.
    docs/secrets.md says what the old secret still reveals.
    """
    from rich.console import Console

    from groundswell.cli.display.progress import progress_bar
    from groundswell.profile_service.upkeep import needs_new_secret
    from groundswell.profile_service.upkeep import rotate_secret as rewrite

    with (
        says_when_interrupted(lambda: "the same command goes on where it stopped"),
        chosen_database(state, database_url) as chosen,
        progress_bar(Console(stderr=True), "users") as on_progress,
    ):
        state_of_up, url = chosen.state, chosen.url
        if state_of_up and asyncio.run(needs_new_secret(url, chosen.secrets())):
            state_of_up.add_secret()
        tombstones = chosen.tombstone_file
        num_users = asyncio.run(rewrite(url, chosen.secrets(), tombstones, on_progress))
    typer.echo(f"All {num_users:,} users are stored under the newest secret.")
