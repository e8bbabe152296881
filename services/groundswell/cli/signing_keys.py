"""Makes the keys that tokens are signed with."""

import json
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from groundswell.artifacts.small_files import replace_text
from groundswell.cli.certificates import write_private
from groundswell.cli.failures import CommandError
from groundswell.serving.token_keys import KeyFileError, read_public_keys

_ID_BYTES = 8


def make_signing_key(private: Path, public: Path) -> str:
    """Write a private key, and add its public key to a key set; return its id.

    Tokens of the keys that the set held before stay right. Raises CommandError where the file of
    the private key exists, and for a file that is no key set.
    """
    key = Ed25519PrivateKey.generate()
    key_id = secrets.token_hex(_ID_BYTES)
    named = {"kid": key_id, "alg": "EdDSA", "use": "sig"}
    keys = _held(public) if public.exists() else []
    keys.append({**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), **named})
    write_private(private, json.dumps({**OKPAlgorithm.to_jwk(key, as_dict=True), **named}).encode())
    replace_text(public, json.dumps({"keys": keys}, indent=1) + "\n", mode=0o644)
    return key_id


def drop_public_key(public: Path, key_id: str) -> None:
    """Remove a key from a key set: tokens that it signed are refused from now on.

    Without the last key nobody gets in. Raises CommandError when the set does not hold the key.
    """
    keys = _held(public)
    kept = [key for key in keys if key["kid"] != key_id]
    if len(kept) == len(keys):
        held = ", ".join(key["kid"] for key in keys)
        raise CommandError(f"{public} does not hold {key_id}; it holds {held}")
    replace_text(public, json.dumps({"keys": kept}, indent=1) + "\n", mode=0o644)


def _held(public: Path) -> list[dict[str, Any]]:
    try:
        read_public_keys(public)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    held: list[dict[str, Any]] = json.loads(public.read_bytes())["keys"]
    return held
