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
    except (binascii.Error, UnicodeError, ValueError):
        place = []
    # Exact types, since True counts as an int; numbers must fit the database's.
    fits = isinstance(place, list) and [type(x) for x in place] == list(kinds)
    if not fits or any(isinstance(x, int) and not -(2**63) <= x < 2**63 for x in place):
        raise InvalidArgument(
            "PAGE_TOKEN_INVALID", "page_token is not one that was given out", field="page_token"
        )
    return place
