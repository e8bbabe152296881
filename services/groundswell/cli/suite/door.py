"""Mutual TLS and tokens of `groundswell up --secure`: made once, in the state folder."""

import time
from dataclasses import dataclass
from pathlib import Path

from groundswell.artifacts.small_files import replace_text
from groundswell.cli.certificates import LOCAL_NAMES, DevCertificates, make_certificates
from groundswell.cli.signing_keys import make_signing_key
from groundswell.client.secured import Tls
from groundswell.serving.token_keys import TokenMaker

_ROLES = ("backend", "ingest", "operator")
_DAYS = 30
_DAY_S = 86_400


@dataclass(frozen=True)
class LocalDoor:
    """The files that the services and their callers on this machine use."""

    folder: Path

    @property
    def token(self) -> Path:
        """The file of a token for the commands and for trials: backend, ingest and operator."""
        return self.folder / "token"

    @property
    def tls(self) -> Tls:
        """What callers connect with."""
        return Tls(self.certificates.ca, *self.certificates.client)

    @property
    def certificates(self) -> DevCertificates:
        """The certificates, for mutual TLS."""
        return DevCertificates(self.folder)

    @property
    def keys(self) -> Path:
        """The public keys of tokens."""
        return self.folder / "keys.json"

    @property
    def signing_key(self) -> Path:
        """The private key of tokens."""
        return self.folder / "signing-key.json"

    def make(self) -> None:
        """Make the certificates, the keys and a token anew, for 30 days."""
        for path in self.folder.glob("*"):
            path.unlink()
        make_certificates(self.folder, LOCAL_NAMES, _DAYS)
        make_signing_key(self.signing_key, self.keys)
        maker = TokenMaker(self.signing_key, issuer="groundswell", audience="groundswell")
        replace_text(self.token, maker.make("local", _ROLES, _DAYS * _DAY_S), mode=0o600)

    @property
    def is_fresh(self) -> bool:
        """Whether all of it lasts for more than half of its time."""
        made = self.token.stat().st_mtime if self.token.exists() else 0.0
        return time.time() - made < _DAYS * _DAY_S / 2

    def of_services(self) -> dict[str, str]:
        """The variables of the services."""
        certificate, key = self.certificates.server
        own = _variables(
            TLS_CERTIFICATE=certificate,
            TLS_KEY=key,
            TLS_CLIENT_CA=self.certificates.ca,
            TOKEN_KEYS=self.keys,
            TOKEN_SIGNING_KEY=self.signing_key,
        )
        return own | self._of_connections()

    def of_callers(self) -> dict[str, str]:
        """The variables of the commands."""
        return self._of_connections() | _variables(TOKEN_FILE=self.token)

    def _of_connections(self) -> dict[str, str]:
        certificate, key = self.certificates.client
        return _variables(
            TLS_CA=self.certificates.ca, TLS_CLIENT_CERTIFICATE=certificate, TLS_CLIENT_KEY=key
        )


def local_door(folder: Path) -> LocalDoor:
    """The door of a folder, made anew when half of its time is over."""
    door = LocalDoor(folder.resolve())
    if not door.is_fresh:
        door.make()
    return door


def _variables(**files: Path) -> dict[str, str]:
    return {f"GROUNDSWELL_{name}": str(path) for name, path in files.items()}
