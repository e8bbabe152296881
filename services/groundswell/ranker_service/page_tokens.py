"""Writes and reads the tokens of further pages, which hold the items that were shown."""

import base64
import binascii
import hmac
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.serving.errors import InvalidArgument

MAX_SHOWN = 2_000
"""After so many items there is no further page."""

_KEY_OF = b"groundswell page token"
_MAC_BYTES = 16
_NUMBER = np.dtype("<i8")


class ShownItems(NamedTuple):
    """The items of the pages before, by the numbers of a lineage of the catalogue."""

    lineage: str
    item_nos: NDArray[np.int64]

    def check(self, lineage: str) -> None:
        """Raise InvalidArgument (PAGE_TOKEN_INVALID) when the numbers are of another lineage."""
        if lineage != self.lineage:
            raise page_token_invalid(
                "is from before the database was restored from a backup; ask for the first page"
            )


class PageTokens:
    """Signs tokens under the deployment's newest secret, and takes those of all its secrets."""

    def __init__(self, *secrets: str) -> None:
        """Take the secrets, oldest first."""
        self._keys = [hmac.digest(secret.encode(), _KEY_OF, "sha256") for secret in secrets]

    def write(self, shown: ShownItems) -> str:
        """Return the token of the page after some items, whose numbers may be in any order."""
        steps = np.diff(np.sort(shown.item_nos), prepend=0).astype(_NUMBER)
        body = zlib.compress(shown.lineage.encode() + b"\0" + steps.tobytes())
        return base64.urlsafe_b64encode(self._mac(self._keys[-1], body) + body).decode()

    def read(self, token: str) -> ShownItems:
        """Return the items that a token holds. Raises InvalidArgument (PAGE_TOKEN_INVALID)."""
        try:
            signed = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeError):
            signed = b""
        mac, body = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, self._mac(key, body)) for key in self._keys):
            raise page_token_invalid("is not one that was given out")
        lineage, steps = zlib.decompress(body).split(b"\0", 1)
        item_nos = np.cumsum(np.frombuffer(steps, _NUMBER))
        return ShownItems(lineage.decode(), item_nos.astype(np.int64))

    @staticmethod
    def _mac(key: bytes, body: bytes) -> bytes:
        return hmac.digest(key, body, "sha256")[:_MAC_BYTES]


def page_token_invalid(problem: str) -> InvalidArgument:
    """Return the error of a token that names no page."""
    return InvalidArgument("PAGE_TOKEN_INVALID", f"page_token {problem}", field="page_token")
