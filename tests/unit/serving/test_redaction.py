"""No password of a setting is shown: at the start, in a refusal, or in the text of an error."""

import io
import logging
import sys
from contextlib import redirect_stderr
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from groundswell.profile_service.settings import ProfileSettings
from groundswell.ranker_service.settings import RankerSettings
from groundswell.serving.redaction import masked, printable, secrets_of
from groundswell.serving.settings import ServingSettings, load_settings
from groundswell.serving.telemetry import set_up_logging
from groundswell.session_service.settings import SessionSettings

START, END = "Zq7first", "lastZq7"
PASSWORDS = st.text(
    st.one_of(st.sampled_from("/@:?&#%=+ ;,[]\\'\""), st.characters(codec="utf-8", min_codepoint=1))
).map(lambda middle: START + middle + END)
RAW = (
    "postgresql+psycopg://gs:{}@db:5432/gs",
    "postgresql+psycopg://gs:{}@one:5432,two:5433/gs?target_session_attrs=read-write",
    "postgresql+psycopg://:{}@db/gs",
    "postgresql+psycopg:///gs?host=/run/db&user=gs&password={}",
    "postgresql+psycopg://gs@db/gs?sslmode=require&password={}&connect_timeout=3",
    "postgresql+psycopg://gs:x@db/gs?sslpassword={}",
    "sqlite+aiosqlite:///file.db?password={}",
    "mysql://gs:{}@db/gs",
    "postgresql+psycopg:gs:{}@db/gs",
    "gs:{}@db/gs",
    "host=db user=gs password={}",
)
WHOLE = ("postgresql+psycopg://{}:{}@db/gs", "{}")


class Wide(ServingSettings):
    """Settings of every form that a URL may take in them."""

    port: int = 0
    store_url: str = ""
    urls: tuple[str, ...] = ()
    named: dict[str, str] = Field(default_factory=dict)
    keys: tuple[SecretStr, ...] = ()


def shown(cls: type[ServingSettings], **variables: str) -> str:
    """What a process writes about its settings: the start line, or its refusal."""
    written = io.StringIO()
    with pytest.MonkeyPatch.context() as environment, redirect_stderr(written):
        environment.setenv("GROUNDSWELL_SECRET", "0123456789abcdef")
        environment.setenv("GROUNDSWELL_BUNDLES", "/srv/bundles")
        for name, value in variables.items():
            environment.setenv(f"GROUNDSWELL_{name}", value)
        try:
            return repr(printable(load_settings(cls)))
        except SystemExit:
            return written.getvalue()


def assert_hidden(text: str) -> None:
    assert text
    assert START not in text
    assert END not in text


@given(PASSWORDS, st.sampled_from(RAW), st.booleans())
@hypothesis_settings(max_examples=100, deadline=None)
def test_no_part_of_a_password_is_shown_at_the_start_or_in_a_refusal(
    password: str, url: str, is_encoded: bool
) -> None:
    given_url = url.format(quote(password, safe="") if is_encoded else password)
    assert_hidden(shown(ProfileSettings, DATABASE_URL=given_url))


@given(PASSWORDS, st.sampled_from(RAW))
@hypothesis_settings(max_examples=30, deadline=None)
def test_every_setting_of_every_process_is_masked(password: str, url: str) -> None:
    given_url = url.format(password)
    for cls in (SessionSettings, RankerSettings):
        assert_hidden(shown(cls, PROFILE_ADDRESS=given_url, HOST=given_url))
    settings = Wide.model_validate(
        {
            "secret": START + "0123456789" + END,
            "bundles": "/srv/b@ndles",
            "store_url": given_url,
            "urls": (given_url,),
            "named": {"it": given_url, "password": password},
            "keys": [SecretStr(password)],
        }
    )
    text = repr(printable(settings))
    assert_hidden(text)
    assert "/srv/b@ndles" in text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://gs:a/b@db:5432/gs", "postgresql+psycopg://gs:…@db:5432/gs"),
        ("postgresql+psycopg://gs:a@b:c@db/gs", "postgresql+psycopg://gs:…@db/gs"),
        ("postgresql+psycopg://gs@db/gs?sslmode=require", "postgresql+psycopg://gs@db/gs?sslmode=require"),
        ("postgresql+psycopg:///gs?host=/run/db", "postgresql+psycopg:///gs?host=/run/db"),
        ("postgresql+psycopg://gs@db/gs?host=b&password=x&y", "postgresql+psycopg://gs@db/gs?host=b&password=…"),
        ("postgresql+psycopg://db/gs?unknown=1", "postgresql+psycopg://db/gs?…"),
        ("postgresql+psycopg://a/b:c@db/gs", "postgresql+psycopg://…"),
        ("postgresql+psycopg://gs:a?b@db/gs", "postgresql+psycopg://gs:…@…"),
        ("postgresql+psycopg://gs:a@db/gs?sslpassword=b@c", "postgresql+psycopg://gs:…@…"),
        ("sqlite+aiosqlite:////srv/a@b/x.db", "sqlite+aiosqlite:////srv/a@b/x.db"),
        ("dns:///profile:50051", "dns:///profile:50051"),
        ("127.0.0.1:50051", "127.0.0.1:50051"),
    ],
)  # fmt: skip
def test_what_is_no_password_stays_readable(url: str, expected: str) -> None:
    assert masked(url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://gs:pa@ss:w0rd@db/gs", "%40"),
        ("postgresql+psycopg://gs:pa@ss@db/gs", "%40"),
        ("mysql://gs:hunter2@db/gs", "'mysql'"),
        ("hunter2", "the scheme ''"),
    ],
)
def test_a_refusal_says_what_to_do_and_nothing_of_the_password(url: str, told: str) -> None:
    text = shown(ProfileSettings, DATABASE_URL=url)
    assert told in text
    for part in ("hunter2", "w0rd", "ss@db"):
        assert part not in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_text_of_an_error_in_the_log_loses_the_password(
    log_format: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a driver writes it: decoded, encoded, or cut off at an @."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    settings = Wide.model_validate(
        {
            "secret": "0123456789abcdef",
            "bundles": tmp_path,
            "log_format": log_format,
            "store_url": 'postgresql+psycopg://gs:hunter2%2F"x@w0rd@db/gs?password=hunter3',
        }
    )
    set_up_logging("INFO", log_format, final=False, secrets=secrets_of(settings))
    try:
        raise RuntimeError('no host "w0rd@db", not hunter2/"x@w0rd nor hunter3')
    except RuntimeError as error:
        structlog.get_logger("ours").error("failed", exc_info=error, detail=str(error))
        logging.getLogger("sqlalchemy.pool").error("terminated: %s", error, exc_info=error)
    text = written.getvalue()
    assert text.count("Traceback") == 2
    for part in ("hunter2", "w0rd", "hunter3"):
        assert part not in text
