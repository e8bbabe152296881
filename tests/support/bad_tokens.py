"""Tokens that servers must refuse, and some that they must take."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMES = ("backend", "ingest", "operator", "internal", "monitor")


def claims(role: str, **changed: Any) -> dict[str, Any]:
    """The claims of a right token of a role."""
    now = int(time.time())
    right = {"iss": "groundswell", "aud": "groundswell", "sub": f"a {role}", "roles": [role]}
    return {**right, "exp": now + 600, **changed}


def tokens_of(role: str, newest: Path, older: Path) -> dict[str, tuple[str | None, str]]:
    """Tokens of a role by kind, each with the reason that refuses it; "": it is taken.

    `newest` and `older` are the files of two private keys, whose public keys are live.
    """
    key = json.loads(newest.read_bytes())
    private = jwt.PyJWK(key).key
    sign: dict[str, Any] = {"algorithm": "EdDSA", "headers": {"kid": key["kid"]}}
    other = Ed25519PrivateKey.generate()
    old = json.loads(older.read_bytes())
    past = int(time.time()) - 3600
    bare = {name: value for name, value in claims(role).items() if name != "exp"}
    return {
        "right": (jwt.encode(claims(role), private, **sign), ""),
        "of the older key": (
            jwt.encode(claims(role), jwt.PyJWK(old).key, "EdDSA", headers={"kid": old["kid"]}),
            "",
        ),
        "none": (None, "TOKEN_MISSING"),
        "expired": (jwt.encode(claims(role, exp=past), private, **sign), "TOKEN_EXPIRED"),
        "without end": (jwt.encode(bare, private, **sign), "TOKEN_INVALID"),
        "of another audience": (
            jwt.encode(claims(role, aud="another"), private, **sign),
            "TOKEN_INVALID",
        ),
        "of another issuer": (
            jwt.encode(claims(role, iss="another"), private, **sign),
            "TOKEN_INVALID",
        ),
        "unsigned": (
            jwt.encode(claims(role), "", "none", headers={"kid": key["kid"]}),
            "TOKEN_INVALID",
        ),
        "signed by HMAC with the public key": (_hmac(key, claims(role)), "TOKEN_INVALID"),
        "of another key": (
            jwt.encode(claims(role), other, "EdDSA", headers={"kid": key["kid"]}),
            "TOKEN_INVALID",
        ),
        "of an unknown key": (
            jwt.encode(claims(role), other, "EdDSA", headers={"kid": "another"}),
            "TOKEN_INVALID",
        ),
    }


def _hmac(key: dict[str, str], said: dict[str, Any]) -> str:
    """What a server takes that gives its public key to whatever algorithm the token names."""
    private: Any = jwt.PyJWK(key).key
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "kid": key["kid"], "typ": "JWT"}
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, said))
    return f"{signed}.{_base64(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
