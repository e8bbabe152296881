"""Options of `groundswell profiles` that do not go together are refused before anything begins."""

import pytest
from typer.testing import CliRunner

from groundswell.cli.app import app


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--address", "127.0.0.1:1"], "--address"),
        (["--engine", "ray", "--address", "127.0.0.1:1", "--processes", "2"], "--processes"),
        (["--bundle", ""], "--bundle"),
    ],
)
def test_options_that_would_be_ignored_are_refused(given: list[str], named: str) -> None:
    command = ["profiles", "rebuild", "--bundles", "nowhere", "--database-url", "sqlite:///x"]
    ended = CliRunner().invoke(app, [*command, *given])
    assert ended.exit_code == 2
    assert f"Invalid value for {named}" in ended.output
