"""Settings of who may call a server, and of how a process proves to others who it is."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from groundswell.client.secured import Tls

PREFIX = "GROUNDSWELL_"


class TokenSettings(BaseSettings):
    """What a token must say, and what the tokens that a process makes say."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    token_issuer: Annotated[str, Field(min_length=1)] = "groundswell"
    """The claim `iss` of every token."""
    token_audience: Annotated[str, Field(min_length=1)] = "groundswell"
    """The claim `aud` of every token: this deployment. Deployments that share an issuer need
    different ones, or a token of one opens the other."""


class DoorSettings(TokenSettings):
    """Who may call a server. Files are read again when they change."""

    tls_certificate: Path | None = None
    """The server's certificate with its chain, PEM. With it every connection is encrypted, with TLS
    1.2 or 1.3; unset: none is."""
    tls_key: Path | None = None
    """The private key of that certificate, PEM, without a password."""
    tls_client_ca: Path | None = None
    """The authorities, PEM, whose clients may connect: mutual TLS. Unset: any client may."""
    token_keys: Path | None = None
    """The public keys, a JSON Web Key Set, that tokens are signed with. With it every call needs a
    token with a role of its method; unset: whoever reaches the port may call everything."""
    audit_log: Path | None = None
    """The file to which each call that reads the data of a user adds a line. Unset: stdout, where
    tokens are checked; else these lines are not written."""

    @property
    def missing_of_door(self) -> list[str]:
        """The variables that are not set, of those that a server needs which others can reach."""
        needed = {"TLS_CERTIFICATE": self.tls_certificate, "TOKEN_KEYS": self.token_keys}
        return [f"{PREFIX}{name}" for name, value in needed.items() if value is None]

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        _check_pair(self.tls_certificate, self.tls_key, "TLS_CERTIFICATE", "TLS_KEY")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA: needs {PREFIX}TLS_CERTIFICATE")
        return self


class CallerSettings(TokenSettings):
    """How a process proves to the services that it calls who it is."""

    caller: ClassVar[str] = "groundswell"
    """Who calls, as the tokens say that the process makes."""

    tls_ca: Path | None = None
    """The authorities, PEM, that the certificates of called services are checked against. With it
    calls are encrypted; unset: they are not."""
    tls_client_certificate: Path | None = None
    """The certificate, PEM, that this process shows the services that it calls, for mutual TLS."""
    tls_client_key: Path | None = None
    """The private key of that certificate, PEM, without a password."""
    token_file: Path | None = None
    """The file of the token that calls carry; what makes tokens replaces it before it expires."""
    token_signing_key: Path | None = None
    """A private JSON Web Key, with which the process makes tokens of the role `internal` for its
    calls, each for ten minutes. In place of `token_file`."""

    @property
    def calling_tls(self) -> Tls | None:
        """What calls are encrypted with; None: they are not."""
        if self.tls_ca is None:
            return None
        return Tls(self.tls_ca, self.tls_client_certificate, self.tls_client_key)

    @model_validator(mode="after")
    def _calls_are_whole(self) -> Self:
        pair = self.tls_client_certificate, self.tls_client_key
        _check_pair(*pair, "TLS_CLIENT_CERTIFICATE", "TLS_CLIENT_KEY")
        if pair[0] is not None and self.tls_ca is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CERTIFICATE: needs {PREFIX}TLS_CA")
        if self.token_file is not None and self.token_signing_key is not None:
            raise ValueError(f"{PREFIX}TOKEN_SIGNING_KEY: set this or {PREFIX}TOKEN_FILE, not both")
        return self


def _check_pair(certificate: Path | None, key: Path | None, *names: str) -> None:
    if (certificate is None) != (key is None):
        unset = names[key is None]
        raise ValueError(f"{PREFIX}{unset}: is not set; a certificate and its key belong together")
