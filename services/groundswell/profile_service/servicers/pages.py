"""Writes and reads page tokens, which are opaque to clients."""

import base64
import binascii
import json
from typing import NamedTuple

from groundswell.serving.errors import InvalidArgument


class Place(NamedTuple):
    """Where a page starts, in a database of a lineage."""

    lineage: str
    values: list[int | str]

    def check(self, lineage: str) -> None:
        """Raise InvalidArgument (PAGE_TOKEN_INVALID) when the page is read from another lineage."""
        if lineage != self.lineage:
            raise _invalid(
                "page_token is from before the database was restored from a backup; list from the "
                "start"
            )


def encode_token(lineage: str, *place: int | str) -> str:
    """Write where the next page starts, in the database of a lineage."""
    return base64.urlsafe_b64encode(json.dumps([lineage, *place]).encode()).decode()


def decode_token(token: str, kinds: tuple[type, ...]) -> Place | None:
    """Read where a page starts: values of these kinds; None for an empty token.

    Raises InvalidArgument (PAGE_TOKEN_INVALID).
    """
    if not token:
        return None
    try:
        place: list[int | str] = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        place = []
    # Exact types, since True counts as an int.
    fits = isinstance(place, list) and [type(x) for x in place] == [str, *kinds]
    if not fits or not all(map(_is_storable, place)):
        raise _invalid("page_token is not one that was given out")
    return Place(str(place[0]), place[1:])


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument("PAGE_TOKEN_INVALID", message, field="page_token")


def _is_storable(value: int | str) -> bool:
    """Whether both databases can compare a value with what they hold."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
