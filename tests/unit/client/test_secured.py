"""A token is sent in plain text to this machine alone."""

from pathlib import Path

import pytest

from groundswell.client import GroundswellClient, Targets, Tls
from groundswell.client.secured import is_loopback
from groundswell.serving.channels import open_channel
from groundswell.serving.server import StartError
from groundswell.session_service.settings import SessionSettings

HERE = (
    "ipv4:127.0.0.1:1,127.0.0.2:1",
    "127.0.0.1:50051",
    "localhost:1",
    "[::1]:50051",
    "dns:///LOCALHOST:1",
    "unix:/run/a",
)
AWAY = ("10.0.0.1:1", "profile:1", "[::2]:1", "ipv4:127.0.0.1:1,10.0.0.1:2", "127.0.0.1.a:1")


def test_only_addresses_of_this_machine_are_loopback() -> None:
    assert [one for one in HERE if not is_loopback(one)] == []
    assert [one for one in AWAY if is_loopback(one)] == []


def test_a_client_sends_no_token_in_plain_text_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDSWELL_ALLOW_INSECURE", raising=False)
    for address in AWAY:
        with pytest.raises(ValueError, match=r"the token for .* would be sent in plain text"):
            GroundswellClient(Targets(ranker=address), token="a token")
    for address in HERE:
        GroundswellClient(Targets(ranker=address), token="a token").close()
    GroundswellClient(Targets(ranker="profile:1"), token="a token", tls=Tls()).close()
    GroundswellClient(Targets(ranker="profile:1")).close()
    monkeypatch.setenv("GROUNDSWELL_ALLOW_INSECURE", "1")
    GroundswellClient(Targets(ranker="profile:1"), token="a token").close()


async def test_no_service_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDSWELL_ALLOW_INSECURE", raising=False)
    own = Path(__file__)
    settings = SessionSettings(secret="0123456789abcdef", bundles=own, token_file=own)
    with pytest.raises(StartError, match="would be sent in plain text") as caught:
        open_channel("profile:50051", settings)
    assert caught.value.reason == "CALLER_INVALID"
