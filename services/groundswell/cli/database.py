"""Finds the database that a command works on, and shows its errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from groundswell.cli.failures import CommandError

if TYPE_CHECKING:
    from groundswell.cli.suite.state import State

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


class Chosen(NamedTuple):
    """The database that a command works on."""

    url: str
    state: "State | None"
    """The state folder that it lies in, if one was named; no other process can use it now."""

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of one process alone."""
        from groundswell.profile_service.settings import DatabaseSettings

        return DatabaseSettings(database_url=self.url).is_sqlite

    @property
    def tombstone_file(self) -> Path | None:
        """The file of tombstones beside it, or what GROUNDSWELL_ERASURES names."""
        from groundswell.profile_service.settings import TombstoneSettings

        return TombstoneSettings(database_url=self.url).tombstone_file

    def secrets(self) -> tuple[str, ...]:
        """The deployment's secrets, oldest first."""
        if self.state is not None:
            return self.state.secrets()
        from groundswell.serving.settings import SecretSettings, load_settings

        return load_settings(SecretSettings).secrets


@contextmanager
def chosen_database(state: Path | None, url: str | None) -> Iterator[Chosen]:
    """Give the database that the options name. Raises CommandError for what it cannot use.

    Inside, errors of the database become a CommandError too.
    """
    from groundswell.cli.suite.state import State
    from groundswell.serving.errors import ServiceError
    from groundswell.serving.server import StartError
    from groundswell.serving.telemetry import set_up_logging

    set_up_logging("ERROR", "console", final=False)
    try:
        if state is not None:
            if not (state / "groundswell.db").exists():
                raise CommandError(f"{state} holds no database; `groundswell up` makes one there")
            with State(state) as opened:
                yield Chosen(opened.database_url, opened)
        elif url:
            _check_url(url)
            yield Chosen(url, None)
        else:
            raise CommandError("name the database: --state FOLDER, or --database-url URL")
    except (StartError, ServiceError) as error:
        raise CommandError(str(error)) from error


def _check_url(url: str) -> None:
    from pydantic import ValidationError

    from groundswell.profile_service.settings import DatabaseSettings

    try:
        DatabaseSettings(database_url=url)
    except ValidationError as error:
        (problem,) = error.errors(include_input=False)
        raise CommandError(str(problem["msg"]).removeprefix("Value error, ")) from None
