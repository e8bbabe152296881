"""A page token holds where the next page starts; every other text is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.profile_service.servicers.pages import Place, decode_token, encode_token
from groundswell.serving.errors import InvalidArgument

KINDS = (int, int, str)
numbers = st.integers(-(2**63), 2**63 - 1)
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(numbers, numbers, ids)
def test_a_token_comes_back_as_the_place_that_it_was_made_of(a: int, b: int, c: str) -> None:
    assert decode_token(encode_token("1f", a, b, c), KINDS) == Place("1f", [a, b, c])


def test_no_token_is_the_start() -> None:
    assert decode_token("", KINDS) is None


@given(st.text())
def test_another_text_is_refused_and_breaks_nothing(text: str) -> None:
    if text:
        with pytest.raises(InvalidArgument) as caught:
            decode_token(text, KINDS)
        assert (caught.value.reason, caught.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


@pytest.mark.parametrize(
    "place", [(1, 2), (1, 2, 3), (True, 2, "c"), (2**63, 2, "c"), (1, 2, "\0")]
)
def test_a_place_of_another_kind_is_refused(place: tuple[int | str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        decode_token(encode_token("1f", *place), KINDS)


def test_a_token_is_good_in_its_own_lineage_alone() -> None:
    place = decode_token(encode_token("1f", 1, 2, "c"), KINDS)
    assert place is not None
    place.check("1f")
    with pytest.raises(InvalidArgument, match="restored") as caught:
        place.check("2f")
    assert (caught.value.reason, caught.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


def test_a_token_of_before_lineages_is_refused() -> None:
    before = base64.urlsafe_b64encode(b'[1, 2, "c"]').decode()
    with pytest.raises(InvalidArgument):
        decode_token(before, KINDS)
