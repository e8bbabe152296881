"""Reads the tokens that say who calls: JSON Web Tokens."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jwt

from groundswell.client.files import Reloaded
from groundswell.serving.errors import Unauthenticated
from groundswell.serving.token_keys import read_public_keys

_CLAIMS = ["exp", "iss", "aud", "sub", "roles"]
_LEEWAY_S = 30
"""The most that the clocks of those who make and who read tokens may be apart."""
_MAX_TOKEN_BYTES = 8192
_MAX_READ = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds a token; `expires_s` is in seconds since 1970."""

    subject: str
    roles: frozenset[str]
    expires_s: float


class TokenReader:
    """Checks tokens against the public keys of a file. Not thread-safe.

    Tokens that were found right are kept until they expire, or the keys change. Making it raises
    OSError, and KeyFileError for a wrong file.
    """

    def __init__(self, keys: Path, *, issuer: str, audience: str) -> None:
        self._keys = Reloaded([keys], lambda: read_public_keys(keys))
        self._issuer, self._audience = issuer, audience
        self._known_keys = self._keys()
        self._read: dict[bytes, Caller] = {}

    def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Who makes a call. Raises Unauthenticated (TOKEN_MISSING, _EXPIRED or _INVALID)."""
        sent = [value for name, value in metadata if name == "authorization"]
        if not sent:
            raise Unauthenticated(
                "TOKEN_MISSING", "the call has no token: send `authorization: Bearer TOKEN`"
            )
        return self.read(sent[0] if len(sent) == 1 and isinstance(sent[0], str) else "")

    def read(self, authorization: str) -> Caller:
        """Who holds the token of a header. Raises Unauthenticated."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN_BYTES:
            raise _invalid("send one header `authorization: Bearer TOKEN`, of at most 8 KiB")
        keys = self._keys()
        if keys is not self._known_keys:
            self._known_keys = keys
            self._read.clear()
        digest = hashlib.sha256(token.encode()).digest()
        found = self._read.get(digest)
        if found is not None:
            if time.time() < found.expires_s + _LEEWAY_S:
                return found
            raise _expired()
        caller = self._check(token)
        if len(self._read) >= _MAX_READ:
            self._read.clear()
        self._read[digest] = caller
        return caller

    def _check(self, token: str) -> Caller:
        try:
            key = self._key_of(token)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": _CLAIMS},
            )
            expires_s = float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise _expired() from None
        except (jwt.PyJWTError, RecursionError, OverflowError) as error:
            raise _invalid(str(error)) from None
        roles = claims["roles"]
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise _invalid("its claim `roles` is not a list of names")
        return Caller(claims["sub"], frozenset(roles), expires_s)

    def _key_of(self, token: str) -> jwt.PyJWK:
        name = jwt.get_unverified_header(token).get("kid")
        if name not in self._known_keys and self._keys.look_now():
            self._known_keys = self._keys()
            self._read.clear()
        if name not in self._known_keys:
            raise _invalid("it is signed with a key that is not among those of this deployment")
        return self._known_keys[name]


def _expired() -> Unauthenticated:
    return Unauthenticated("TOKEN_EXPIRED", "the token has expired")


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", f"the token is not taken: {why}")
