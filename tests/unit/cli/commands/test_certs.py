"""The commands that make certificates, keys and tokens."""

import json
from pathlib import Path

from typer.testing import CliRunner

from groundswell.cli.app import app
from groundswell.client.files import read_authorities, read_pair
from groundswell.serving.tokens import TokenReader


def run(*options: str | Path) -> str:
    done = CliRunner().invoke(app, [str(option) for option in options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_certs_dev_makes_certificates_that_a_server_and_a_client_can_use(tmp_path: Path) -> None:
    said = run("certs", "dev", "--out", tmp_path / "certs", "--name", "ranker")
    files = {name: Path(value) for name, _, value in (x.partition("=") for x in said.splitlines())}
    for kind in ("", "CLIENT_"):
        read_pair(files[f"GROUNDSWELL_TLS_{kind}CERTIFICATE"], files[f"GROUNDSWELL_TLS_{kind}KEY"])
    read_authorities(files["GROUNDSWELL_TLS_CA"])


def test_a_token_is_issued_taken_and_refused_once_its_key_is_dropped(tmp_path: Path) -> None:
    key, keys = tmp_path / "key.json", tmp_path / "keys.json"
    run("tokens", "key", "--key", key, "--keys", keys)
    assert key.stat().st_mode & 0o077 == 0
    issue = ("tokens", "issue", "--key", key, "--subject", "shop")
    token = run(*issue, "--role", "backend", "--role", "ingest")
    caller = TokenReader(keys, issuer="groundswell", audience="groundswell").read(f"Bearer {token}")
    assert (caller.subject, caller.roles) == ("shop", frozenset({"backend", "ingest"}))
    assert CliRunner().invoke(app, [*map(str, issue), "--role", "king"]).exit_code != 0
    run("tokens", "drop", "--keys", keys, json.loads(key.read_bytes())["kid"])
    assert json.loads(keys.read_bytes()) == {"keys": []}
