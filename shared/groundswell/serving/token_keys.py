"""Reads the keys that tokens are signed with, and makes tokens: JSON Web Keys and Tokens."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from groundswell.client.files import Reloaded

ALGORITHMS = ("EdDSA", "ES256", "ES384", "RS256", "PS256")
"""Only asymmetric ones: whoever checks tokens can then make none."""
OWN_TOKEN_S = 600.0
"""The life of a token that a process makes for its own calls."""

_MIN_RSA_BITS = 2048


class KeyFileError(ValueError):
    """A file of keys that cannot be used; the text says why, and holds no key."""


class TokenMaker:
    """Makes tokens with a private key. Making it raises OSError, and KeyFileError."""

    def __init__(self, key: Path, *, issuer: str, audience: str) -> None:
        self._key = Reloaded([key], lambda: read_private_key(key))
        self._issuer, self._audience = issuer, audience

    def make(self, subject: str, roles: Sequence[str], seconds: float) -> str:
        """A token for a subject with roles, which expires after some seconds from now."""
        key = self._key()
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "roles": list(roles),
            "iat": now,
            "exp": now + int(seconds),
        }
        return jwt.encode(claims, key.key, key.algorithm_name, headers={"kid": key.key_id})

    def own(self, subject: str) -> Callable[[], str]:
        """What returns a token of the role `internal`, made again when half its time is over."""
        made, made_s, with_key = "", 0.0, None

        def current() -> str:
            nonlocal made, made_s, with_key
            now_s, key = time.monotonic(), self._key()
            if key is not with_key or now_s - made_s > OWN_TOKEN_S / 2:
                made, made_s, with_key = self.make(subject, ["internal"], OWN_TOKEN_S), now_s, key
            return made

        return current


def read_public_keys(path: Path) -> dict[str, jwt.PyJWK]:
    """The public keys of a JSON Web Key Set, by their ids; an empty one lets nobody in.

    Raises OSError, KeyFileError.
    """
    keys = _json(path).get("keys")
    if not isinstance(keys, list):
        raise KeyFileError(f"{path} is not a JSON Web Key Set")
    found = {}
    for fields in keys:
        key = _key(path, fields)
        if "d" in fields:
            raise KeyFileError(f"{path} holds a private key: servers need the public keys alone")
        found[str(key.key_id)] = key
    if len(found) < len(keys):
        raise KeyFileError(f"two keys of {path} have the same kid")
    return found


def read_private_key(path: Path) -> jwt.PyJWK:
    """The private JSON Web Key of a file. Raises OSError, KeyFileError."""
    fields = _json(path)
    key = _key(path, fields)
    if "d" not in fields:
        raise KeyFileError(f"{path} holds no private key")
    return key


def _json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_bytes())
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise KeyFileError(f"{path} is not JSON with the fields of keys")
    return fields


def _key(path: Path, fields: Any) -> jwt.PyJWK:
    if not isinstance(fields, dict) or not fields.get("kid"):
        raise KeyFileError(f"a key of {path} has no `kid`")
    try:
        key = jwt.PyJWK(fields)
    except jwt.PyJWTError:
        raise KeyFileError(f"a key of {path} is damaged, or of an unknown kind") from None
    if key.algorithm_name not in ALGORITHMS:
        raise KeyFileError(f"a key of {path} is for none of {', '.join(ALGORITHMS)}")
    if isinstance(key.key, RSAPublicKey | RSAPrivateKey) and key.key.key_size < _MIN_RSA_BITS:
        raise KeyFileError(f"an RSA key of {path} has less than {_MIN_RSA_BITS} bits")
    return key
