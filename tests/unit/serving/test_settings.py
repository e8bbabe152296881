"""Settings: what is wrong is named, what is secret is not shown."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from groundswell.serving.redaction import printable
from groundswell.serving.settings import CallingSettings, ServingSettings, load_settings

SECRET = "0123456789abcdef"


class Settings(ServingSettings):
    """As a service would have them."""

    port: int = Field(default=50051, ge=0, le=65535)
    store_url: str = "sqlite://"
    token: SecretStr | None = None


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("GROUNDSWELL_SECRET", SECRET)
    monkeypatch.setenv("GROUNDSWELL_BUNDLES", str(tmp_path))
    return monkeypatch


def refusal(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        load_settings(Settings)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_variables_become_settings(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("GROUNDSWELL_PORT", "1234")
    settings = load_settings(Settings)
    assert (settings.port, settings.bundles, settings.threads) == (1234, tmp_path, 1)
    assert settings.secret.get_secret_value() == SECRET


def test_every_wrong_variable_is_named_in_a_line_of_its_own(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("GROUNDSWELL_SECRET")
    environment.setenv("GROUNDSWELL_PORT", "many")
    environment.setenv("GROUNDSWELL_THREADS", "0")
    lines = refusal(capsys)
    assert [line.split(":")[0] for line in lines] == [
        "GROUNDSWELL_SECRET",
        "GROUNDSWELL_PORT",
        "GROUNDSWELL_THREADS",
    ]
    assert "GROUNDSWELL_SECRET: is not set" in lines


def test_secrets_that_were_replaced_come_before_the_newest(
    environment: pytest.MonkeyPatch,
) -> None:
    assert load_settings(Settings).secrets == (SECRET,)
    environment.setenv("GROUNDSWELL_PREVIOUS_SECRETS", f"{'a' * 16}, {'b' * 16}")
    assert load_settings(Settings).secrets == ("a" * 16, "b" * 16, SECRET)
    environment.setenv("GROUNDSWELL_PREVIOUS_SECRETS", "one, with a comma\n")
    assert load_settings(Settings).secrets == ("one, with a comma", SECRET)


@pytest.mark.parametrize("replaced", ["short", f"{'a' * 16},short", f"{SECRET},{'a' * 16}"])
def test_a_list_of_secrets_that_cannot_be_right_is_refused_and_not_repeated(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], replaced: str
) -> None:
    environment.setenv("GROUNDSWELL_PREVIOUS_SECRETS", replaced)
    (line,) = refusal(capsys)
    assert line.startswith("GROUNDSWELL_PREVIOUS_SECRETS: ")
    assert "short" not in line
    assert SECRET not in line


def test_no_secret_is_printed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GROUNDSWELL_PREVIOUS_SECRETS", "x" * 16)
    assert not {"secret", "previous_secrets"} & printable(load_settings(Settings)).keys()


def test_a_short_secret_is_refused_and_not_repeated(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("GROUNDSWELL_SECRET", "hunter2")
    (line,) = refusal(capsys)
    assert line.startswith("GROUNDSWELL_SECRET: ")
    assert "16" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_a_host_that_others_reach_is_refused_without_consent(
    host: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("GROUNDSWELL_HOST", host)
    (line,) = refusal(capsys)
    assert line.startswith(f"GROUNDSWELL_HOST: {host}")
    assert "GROUNDSWELL_ALLOW_INSECURE" in line


def test_a_host_that_others_reach_is_taken_with_consent(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GROUNDSWELL_HOST", "0.0.0.0")
    environment.setenv("GROUNDSWELL_ALLOW_INSECURE", "1")
    assert not load_settings(Settings).is_loopback


def test_a_host_that_others_reach_needs_tls_and_tokens_and_what_is_missing_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("GROUNDSWELL_HOST", "0.0.0.0")
    environment.setenv("GROUNDSWELL_TLS_CERTIFICATE", "server.pem")
    environment.setenv("GROUNDSWELL_TLS_KEY", "key.pem")
    (line,) = refusal(capsys)
    assert "GROUNDSWELL_TOKEN_KEYS;" in line
    assert "GROUNDSWELL_TLS_CERTIFICATE" not in line
    environment.setenv("GROUNDSWELL_TOKEN_KEYS", "keys.json")
    assert not load_settings(Settings).is_loopback


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("TLS_CERTIFICATE",), "GROUNDSWELL_TLS_KEY: is not set"),
        (("TLS_KEY",), "GROUNDSWELL_TLS_CERTIFICATE: is not set"),
        (("TLS_CLIENT_CA",), "GROUNDSWELL_TLS_CLIENT_CA: needs"),
        (("TLS_CA", "TLS_CLIENT_KEY"), "GROUNDSWELL_TLS_CLIENT_CERTIFICATE: is not set"),
        (("TLS_CLIENT_CERTIFICATE", "TLS_CLIENT_KEY"), "GROUNDSWELL_TLS_CLIENT_CERTIFICATE: needs"),
        (("TOKEN_FILE", "TOKEN_SIGNING_KEY"), "GROUNDSWELL_TOKEN_SIGNING_KEY: set this or"),
    ],
)
def test_a_door_that_is_not_whole_is_refused_by_the_name_of_what_is_missing(
    given: tuple[str, ...],
    said: str,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Calling(Settings, CallingSettings):
        pass

    for name in given:
        environment.setenv(f"GROUNDSWELL_{name}", "file")
    with pytest.raises(SystemExit):
        load_settings(Calling)
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:50051"),
        ("localhost", "localhost:50051"),
        ("::1", "[::1]:50051"),
    ],
)
def test_loopback_hosts_are_taken(host: str, address: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GROUNDSWELL_HOST", host)
    assert load_settings(Settings).address == address


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    settings = load_settings(Settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.threads = 4  # type: ignore[misc] # what is tried here is refused by types too


def test_what_is_printed_holds_no_secret_and_no_password(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GROUNDSWELL_STORE_URL", "postgresql+psycopg://gs:hunter2@db:5432/gs")
    environment.setenv("GROUNDSWELL_TOKEN", "hunter3-hunter3-hunter3")
    shown = printable(load_settings(Settings))
    text = repr(shown)
    assert shown["store_url"] == "postgresql+psycopg://gs:…@db:5432/gs"
    assert shown["port"] == 50051
    for secret in (SECRET, "hunter2", "hunter3"):
        assert secret not in text
