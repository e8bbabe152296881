"""The commands that make certificates, keys and tokens: certs and tokens."""

from pathlib import Path
from typing import Annotated

import typer

from groundswell.cli.failures import CommandError

certs_app = typer.Typer(no_args_is_help=True, help="Certificates for TLS.")
tokens_app = typer.Typer(no_args_is_help=True, help="Tokens, which say who calls.")

_ROLES = ("backend", "ingest", "operator", "internal", "monitor")

PrivateKey = Annotated[Path, typer.Option("--key", help="The file of the private key.")]
PublicKeys = Annotated[
    Path, typer.Option("--keys", help="The key set, for GROUNDSWELL_TOKEN_KEYS of the services.")
]


@certs_app.command()
def dev(
    out: Annotated[Path, typer.Option(help="The folder to write into.")],
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A host or an address of the servers, besides this machine's. Repeat it."
        ),
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, max=90, help="How long they are valid.")] = 30,
) -> None:
    """Make an authority, a server's and a client's certificate, for development.

    Nothing is overwritten. The authority's key is thrown away: renew all of them together.
    """
    from groundswell.cli.certificates import LOCAL_NAMES, make_certificates

    made = make_certificates(out, (*LOCAL_NAMES, *(name or ())), days)
    for variable, path in (
        ("TLS_CERTIFICATE", made.server[0]),
        ("TLS_KEY", made.server[1]),
        ("TLS_CA", made.ca),
        ("TLS_CLIENT_CERTIFICATE", made.client[0]),
        ("TLS_CLIENT_KEY", made.client[1]),
    ):
        typer.echo(f"GROUNDSWELL_{variable}={path}")


@tokens_app.command()
def key(key: PrivateKey, keys: PublicKeys) -> None:
    """Make a private key, and add its public key to the key set of the services.

    To replace a key: make one, wait until every service has the key set, sign tokens with the new
    key, and `tokens drop` the old one when its last token has expired.
    """
    from groundswell.cli.signing_keys import make_signing_key

    typer.echo(make_signing_key(key, keys))


@tokens_app.command()
def drop(keys: PublicKeys, key_id: Annotated[str, typer.Argument(metavar="KID")]) -> None:
    """Remove a key from the key set: its tokens are refused from now on."""
    from groundswell.cli.signing_keys import drop_public_key

    drop_public_key(keys, key_id)


@tokens_app.command()
def issue(
    key: PrivateKey,
    subject: Annotated[str, typer.Option(help="Who gets the token, as the audit log names it.")],
    role: Annotated[list[str], typer.Option(help=f"{', '.join(_ROLES)}. Repeat it for more.")],
    hours: Annotated[float, typer.Option(min=0.01, help="How long it is valid.")] = 24,
    issuer: Annotated[str, typer.Option(envvar="GROUNDSWELL_TOKEN_ISSUER")] = "groundswell",
    audience: Annotated[str, typer.Option(envvar="GROUNDSWELL_TOKEN_AUDIENCE")] = "groundswell",
) -> None:
    """Print a token, signed with a private key. Keep it out of logs and shell histories."""
    from groundswell.serving.token_keys import KeyFileError, TokenMaker

    unknown = sorted(set(role) - set(_ROLES))
    if unknown:
        raise CommandError(f"--role {unknown[0]!r}: the roles are {', '.join(_ROLES)}")
    try:
        maker = TokenMaker(key, issuer=issuer, audience=audience)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    typer.echo(maker.make(subject, role, hours * 3600))
