"""Files that are read again when they were replaced: certificates, keys, tokens."""

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakSet

_LOOK_AGAIN_S = 1.0

_log = logging.getLogger(__name__)
_all: "WeakSet[Reloaded[Any]]" = WeakSet()

T = TypeVar("T")

_State = list[tuple[int, int, int]]


def num_failing() -> int:
    """How many values of this process lack what their files have now, which cannot be read."""
    for one in list(_all):
        one()
    return sum(one.is_failing for one in list(_all))


class Reloaded(Generic[T]):
    """What `read` makes of files. It is called again when one of them was replaced.

    The files are looked at once in a second at most. While one is missing, or `read` raises OSError
    or ValueError, the earlier value stays, and a warning is logged: files of one certificate are
    not replaced at one moment. Making it raises what `read` raises.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._paths, self._read = paths, read
        self._state = self._look()
        self._value = read()
        self._looked_s = time.monotonic()
        self._told = ""
        _all.add(self)

    @property
    def is_failing(self) -> bool:
        """Whether the files could not be read at the last look."""
        return self._told != ""

    def __call__(self) -> T:
        """Return the newest value."""
        if time.monotonic() - self._looked_s >= _LOOK_AGAIN_S:
            self.look_now()
        return self._value

    def look_now(self) -> bool:
        """Look at the files; tell whether there is a new value."""
        self._looked_s = time.monotonic()
        try:
            state = self._look()
            if state == self._state:
                self._told = ""
                return False
            value = self._read()
            if state != self._look():
                return False  # One more was replaced meanwhile: the next look takes both.
        except (OSError, ValueError) as error:
            if str(error) != self._told:
                self._told = str(error)
                _log.warning("what was read before stays in use: %s", error)
            return False
        self._state, self._value, self._told = state, value, ""
        return True

    def _look(self) -> _State:
        stats = [path.stat() for path in self._paths]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]


def read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Read a certificate chain and its private key, both PEM. Raises ValueError, OSError.

    ValueError: they are not PEM, or the key is not the certificate's.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=_no_password
        )
    except ssl.SSLError as error:
        raise ValueError(
            f"{certificate} and {key} are not a certificate and its key in PEM without a password"
        ) from error
    return certificate.read_bytes(), key.read_bytes()


def read_authorities(path: Path) -> bytes:
    """Read certificates of authorities, PEM. Raises ValueError (there is none), OSError."""
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} holds no certificates in PEM") from error
    return path.read_bytes()


def _no_password() -> str:
    """Answer for a key with a password; without this Python asks at the terminal."""
    return ""
