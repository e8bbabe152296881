"""Turns user ids into the keyed hashes that users are stored under."""

import hashlib
import hmac

from groundswell.serving.subjects import is_session

_CHECK = b"groundswell secret check"
_MARK = b"groundswell mark"


class Pseudonymizer:
    """HMAC-SHA256 under the deployment's secret. Without the secret a key cannot be tied to an id.

    A secret that was replaced stays part of the key. Ids are never stored, so a stored key can only
    become HMAC(newer secret, stored key), secret by secret, from the oldest to the newest.
    """

    def __init__(self, secret: str, *newer: str) -> None:
        """Take the secrets, oldest first; a deployment that never changed its secret has one."""
        self._first = hmac.new(secret.encode(), digestmod=hashlib.sha256)
        self._newer = [s.encode() for s in newer]
        self.checks = tuple(_check(s) for s in (secret, *newer))
        """A check value of each secret, in hexadecimal digits. It does not reveal the secret."""

    @property
    def num_secrets(self) -> int:
        """How many secrets there are; also the version of the keys that the newest one makes."""
        return len(self.checks)

    def user_key(self, user_id: str) -> bytes:
        """The 32 bytes that stand for a user: the key under the newest secret.

        `user_id` may be any subject id (see the module `subjects`).
        """
        return self.user_keys(user_id)[-1]

    def user_keys(self, user_id: str) -> tuple[bytes, ...]:
        """All keys that a user was ever stored under, by version: the oldest secret's first."""
        mac = self._first.copy()
        # The namespace, a NUL, and the id; that of a session begins with the NUL.
        mac.update((f"session{user_id}" if is_session(user_id) else f"user\0{user_id}").encode())
        keys = [mac.digest()]
        for secret in self._newer:
            keys.append(hmac.digest(secret, keys[-1], "sha256"))
        return tuple(keys)

    def mark(self, user_id: str) -> bytes:
        """The mark of a user's newest key, by which caches keep what they hold of the user."""
        return mark_of(self.user_key(user_id))

    def newer_key(self, key: bytes, version: int, wanted: int) -> bytes:
        """Turn a stored key of a version into the same user's key of a later version, both ≥ 1."""
        for secret in self._newer[version - 1 : wanted - 1]:
            key = hmac.digest(secret, key, "sha256")
        return key


def mark_of(user_key: bytes) -> bytes:
    """The 32 bytes by which erasures name a user: from them no key is found."""
    return hashlib.sha256(_MARK + user_key).digest()


def _check(secret: str) -> str:
    return hmac.digest(secret.encode(), _CHECK, "sha256").hex()
