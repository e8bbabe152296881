"""Thousands of odd commands; the tests try the first hundred of their own."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.odd_commands import Place, check, commands
from tests.support.odd_place import odd_place

EXAMPLES = 2_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with odd_place(tmp_path_factory.mktemp("place")) as made:
        yield made


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_no_command_ends_in_a_traceback(data: st.DataObject, place: Place) -> None:
    check(data.draw(commands(place)), place)
