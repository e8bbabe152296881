"""Makes certificates for development: an authority, a server and a client that trust each other."""

import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from groundswell.cli.failures import CommandError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_CLOCKS_APART = timedelta(minutes=5)


@dataclass(frozen=True)
class DevCertificates:
    """The files of a folder, all PEM."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority that signed both certificates."""
        return self.folder / "ca.pem"

    @property
    def server(self) -> tuple[Path, Path]:
        """The certificate of servers, and its key."""
        return self.folder / "server.pem", self.folder / "server-key.pem"

    @property
    def client(self) -> tuple[Path, Path]:
        """The certificate of clients, for mutual TLS, and its key."""
        return self.folder / "client.pem", self.folder / "client-key.pem"


def make_certificates(folder: Path, names: Sequence[str], days: float) -> DevCertificates:
    """Write them into a folder; `names` are the hosts and addresses of the servers.

    The key of the authority is not kept, so it can sign nothing else. Raises CommandError where one
    of the files exists.
    """
    made = DevCertificates(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    until = datetime.now(UTC) + timedelta(days=days)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: of two authorities with one name, gRPC would try the first alone.
    own_name = f"Groundswell development {secrets.token_hex(4)}"
    authority = (
        _builder(own_name, ca_key, until)
        .issuer_name(_name(own_name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, SHA256())
    )
    write_private(made.ca, authority.public_bytes(Encoding.PEM))
    for (certificate, key), use in (
        (made.server, ExtendedKeyUsageOID.SERVER_AUTH),
        (made.client, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        own_key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        signed = (
            _builder(certificate.stem, own_key, until)
            .issuer_name(authority.subject)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .sign(ca_key, SHA256())
        )
        write_private(key, _pem(own_key))
        write_private(certificate, signed.public_bytes(Encoding.PEM))
    return made


def write_private(path: Path, content: bytes) -> None:
    """Write a file that others cannot read. Raises CommandError when it exists."""
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise CommandError(f"{path} exists; choose another place, or remove it first") from None
    with os.fdopen(number, "wb") as file:
        file.write(content)


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _CLOCKS_APART)
        .not_valid_after(until)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
