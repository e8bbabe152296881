"""What is not an address of a service is named before anything is called."""

import re

import pytest
from pydantic import ValidationError

from groundswell.contract.addresses import address_problem
from groundswell.ranker_service.settings import RankerSettings
from groundswell.session_service.settings import SessionSettings
from tests.support.in_process import run

SECRET = "0123456789abcdef"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1:50051", "localhost:1", "profile.default.svc:65535", "[::1]:50051"),
        *("dns:///profile:50051", "dns:profile", "unix:/run/a.sock", "ipv4:127.0.0.1:1,10.0.0.1:2"),
    ],
)
def test_addresses_that_grpc_reads_are_taken(address: str) -> None:
    assert address_problem(address) is None


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://127.0.0.1:50051", "begins with http://: write HOST:PORT alone"),
        ("grpc://a:1/", "begins with grpc://"),
        ("127.0.0.1", "write HOST:PORT"),
        ("50051", "write HOST:PORT"),
        (":50051", "write HOST:PORT"),
        ("", "write HOST:PORT"),
        (" 127.0.0.1:50051", "write HOST:PORT"),
        ("a:1/", "write HOST:PORT"),
        ("::1", r"write \[HOST\]:PORT"),
        ("::1:50051", r"write \[HOST\]:PORT"),
        # gRPC calls the port 34463 for it.
        ("127.0.0.1:99999", "its port is a number from 1 to 65535"),
        ("dns:///a:99999", "its port is a number from 1 to 65535"),
        ("a:0", "its port"),
        ("a:", "its port"),
        ("a:" + "9" * 5_000, "its port"),
    ],
)
def test_what_is_no_address_is_named_with_what_to_write(address: str, problem: str) -> None:
    assert re.search(problem, address_problem(address) or "")
    ended = run("recommend", "anna", "--ranker", address)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"groundswell: --ranker {address!r} is not an address: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("settings", [SessionSettings, RankerSettings])
def test_services_name_a_wrong_address_at_their_start(
    settings: type[SessionSettings] | type[RankerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSWELL_SECRET", SECRET)
    monkeypatch.setenv("GROUNDSWELL_BUNDLES", ".")
    monkeypatch.setenv("GROUNDSWELL_PROFILE_ADDRESS", "127.0.0.1:99999")
    with pytest.raises(ValidationError, match="is not an address: its port"):
        settings()


@pytest.mark.parametrize("word", ["maybe", "2", "-"])
def test_a_word_for_the_proxy_that_is_neither_yes_nor_no_is_named(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSWELL_HTTP_PROXY", word)
    ended = run("recommend", "anna", "--ranker", "127.0.0.1:1")
    assert (ended.returncode, ended.stderr) == (
        1,
        f"groundswell: GROUNDSWELL_HTTP_PROXY: {word!r} is neither 1 nor 0\n",
    )
