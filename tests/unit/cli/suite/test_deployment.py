"""A state folder may have any name."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from groundswell.cli.suite.state import State


@pytest.mark.parametrize(
    "name", ["a?b", "a?mode=memory", "a%20b", "a%2Fb", "a#b", "x@y:z", "é", "[1]*", "a b", "a&b=c"]
)
def test_the_url_of_a_database_names_its_file_whatever_the_name(tmp_path: Path, name: str) -> None:
    state = State(tmp_path / name)
    url = make_url(state.database_url)
    assert url.database == str(state.database.resolve())
    assert not url.query
    assert url.get_backend_name() == "sqlite"
