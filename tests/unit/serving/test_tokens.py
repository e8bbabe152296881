"""Tokens: who is let in by them, what is kept of them, and which key files are refused."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm

from groundswell.cli.signing_keys import drop_public_key, make_signing_key
from groundswell.client import files
from groundswell.serving import tokens
from groundswell.serving.access import check_role, roles_of
from groundswell.serving.errors import PermissionDenied, Unauthenticated
from groundswell.serving.token_keys import KeyFileError, TokenMaker, read_public_keys
from groundswell.serving.tokens import TokenReader
from tests.support.bad_tokens import claims, tokens_of


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of two private keys and their public ones; files are looked at in each call."""
    monkeypatch.setattr(files, "_LOOK_AGAIN_S", 0.0)
    make_signing_key(tmp_path / "older.json", tmp_path / "keys.json")
    make_signing_key(tmp_path / "newest.json", tmp_path / "keys.json")
    return tmp_path


def reader(keys: Path) -> TokenReader:
    return TokenReader(keys / "keys.json", issuer="groundswell", audience="groundswell")


def reason(reads: TokenReader, token: str | None) -> str:
    try:
        reads.caller(() if token is None else [("authorization", f"Bearer {token}")])
    except Unauthenticated as error:
        return error.reason
    return ""


def test_each_kind_of_token_is_taken_or_refused_for_its_reason_twice(keys: Path) -> None:
    reads = reader(keys)
    for kind, (token, expected) in tokens_of(
        "backend", keys / "newest.json", keys / "older.json"
    ).items():
        assert [reason(reads, token), reason(reads, token)] == [expected, expected], kind


@pytest.mark.parametrize(
    "changed",
    [
        {"roles": "backend"},
        {"roles": [1]},
        {"sub": 7},
        {"exp": "soon"},
        {"exp": 10**400},
        {"nbf": 2**40},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(keys: Path, changed: dict[str, Any]) -> None:
    key = json.loads((keys / "newest.json").read_bytes())
    private = jwt.PyJWK(key).key
    said = json.dumps(claims("backend", **changed)).encode()
    token = jwt.PyJWS().encode(said, private, "EdDSA", headers={"kid": key["kid"]})
    assert reason(reader(keys), token) == "TOKEN_INVALID"


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "..", "." * 8000, "x" * 9000, "é.é.é"])
def test_what_is_no_token_is_refused(keys: Path, token: str) -> None:
    assert reason(reader(keys), token) == "TOKEN_INVALID"


def test_a_header_that_nests_too_deep_is_refused(keys: Path) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 5000).decode()
    assert reason(reader(keys), f"{header}.e30.e30") == "TOKEN_INVALID"


def test_another_scheme_and_a_second_header_are_refused(keys: Path) -> None:
    reads = reader(keys)
    with pytest.raises(Unauthenticated, match="Bearer"):
        reads.caller([("authorization", "Basic YTpi")])
    right = f"Bearer {TokenMaker(keys / 'newest.json', issuer='i', audience='a').own('x')()}"
    with pytest.raises(Unauthenticated, match="one header"):
        reads.caller([("authorization", right), ("authorization", right)])


def test_a_token_that_was_right_is_refused_once_its_time_is_over(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = reader(keys)
    maker = TokenMaker(keys / "newest.json", issuer="groundswell", audience="groundswell")
    token = maker.make("shop", ["backend"], 60)
    assert reason(reads, token) == ""
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)
    assert reason(reads, token) == "TOKEN_EXPIRED"


def test_a_key_that_leaves_the_set_ends_its_tokens_and_a_new_one_is_known_at_once(
    keys: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reads = reader(keys)
    of_older = tokens_of("backend", keys / "older.json", keys / "older.json")["right"][0]
    assert reason(reads, of_older) == ""
    drop_public_key(keys / "keys.json", json.loads((keys / "older.json").read_bytes())["kid"])
    assert reason(reads, of_older) == "TOKEN_INVALID"
    monkeypatch.setattr(files, "_LOOK_AGAIN_S", 3600.0)
    make_signing_key(keys / "third.json", keys / "keys.json")
    of_third = tokens_of("backend", keys / "third.json", keys / "newest.json")["right"][0]
    assert reason(reads, of_third) == ""
    (keys / "keys.json").write_text("{")
    monkeypatch.setattr(files, "_LOOK_AGAIN_S", 0.0)
    assert [reason(reads, of_third), reason(reads, of_third)] == ["", ""]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (keys / "keys.json").write_text('{"keys": []}')
    assert reason(reads, of_third) == "TOKEN_INVALID"


def test_the_tokens_that_are_kept_are_bounded(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_MAX_READ", 3)
    reads = reader(keys)
    maker = TokenMaker(keys / "newest.json", issuer="groundswell", audience="groundswell")
    for number in range(8):
        assert reason(reads, maker.make(f"shop {number}", ["backend"], 60)) == ""
        assert len(reads._read) <= 3


def test_own_tokens_are_made_again_with_another_key(keys: Path) -> None:
    maker = TokenMaker(keys / "newest.json", issuer="groundswell", audience="groundswell")
    token = maker.own("ranker")
    first = token()
    assert token() == first
    caller = reader(keys).read(f"Bearer {first}")
    assert (caller.subject, caller.roles) == ("ranker", frozenset({"internal"}))
    (keys / "older.json").replace(keys / "newest.json")
    assert token() != first
    assert reason(reader(keys), token()) == ""


def _symmetric() -> dict[str, Any]:
    return {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}]}


def _short_rsa() -> dict[str, Any]:
    public = generate_private_key(65537, 1024).public_key()
    return {"keys": [{**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": "a"}]}


@pytest.mark.parametrize(
    "content",
    [{}, {"keys": [{}]}, {"keys": [{"kty": "OKP", "kid": "a"}]}, [1]],
)
def test_a_file_that_is_no_key_set_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(content))
    with pytest.raises(KeyFileError):
        read_public_keys(tmp_path / "keys.json")


def test_keys_that_could_sign_and_short_keys_are_refused(keys: Path) -> None:
    wrong = keys / "wrong.json"
    private = json.loads((keys / "newest.json").read_bytes())
    for content in (_symmetric(), _short_rsa(), {"keys": [private]}):
        wrong.write_text(json.dumps(content))
        with pytest.raises(KeyFileError):
            read_public_keys(wrong)


def test_a_method_without_roles_lets_nobody_in(keys: Path) -> None:
    caller = reader(keys).read(
        "Bearer "
        + str(tokens_of("operator", keys / "newest.json", keys / "older.json")["right"][0])
    )
    assert roles_of("/groundswell.profile.v1.ProfileService/Unknown") == frozenset()
    assert roles_of("/another.Service/Method") == frozenset()
    with pytest.raises(PermissionDenied, match="names none"):
        check_role(caller, roles_of("/another.Service/Method"))
