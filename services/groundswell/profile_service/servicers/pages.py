"""Page tokens: opaque to clients, refused when they are not ours."""

import base64
import binascii
import json

from groundswell.serving.errors import InvalidArgument


def encode_token(*place: int | str) -> str:
    """Write where the next page starts."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def decode_token(token: str, kinds: tuple[type, ...]) -> list[int | str] | None:
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
    fits = isinstance(place, list) and [type(x) for x in place] == list(kinds)
    if not fits or not all(map(_is_storable, place)):
        raise InvalidArgument(
            "PAGE_TOKEN_INVALID", "page_token is not one that was given out", field="page_token"
        )
    return place


def _is_storable(value: int | str) -> bool:
    """Whether both databases can compare a value with what they hold."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
