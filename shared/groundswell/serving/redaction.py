"""Removes passwords and secrets from what a process prints: settings, URLs, texts of errors."""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from pydantic import SecretStr
from pydantic_settings import BaseSettings

HIDDEN = "…"
_MIN_SECRET = 4
"""A shorter text occurs in too many ordinary words to be hidden."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_SECRET_NAMES = re.compile(r"passw|pwd|secret|token|passphrase|api_?key", re.IGNORECASE)
_SHOWN_PARAMETERS = frozenset(
    {
        "application_name",
        "connect_timeout",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "mode",
        "options",
        "port",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "timeout",
        "user",
    }
)


def masked(text: str) -> str:
    """The text as it may be shown: a URL without its password and its unknown parameters.

    A password may hold any character, encoded or not. So everything up to the last `@` of a URL is
    taken for the user's part; where that is not certain, only the scheme is shown.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return HIDDEN if "@" in text or _SECRET_NAMES.search(text) else text
    if not _SCHEME.fullmatch(scheme):
        return HIDDEN
    if scheme.startswith("sqlite") and rest.startswith("/"):
        return f"{scheme}://{_masked_place(rest)}"
    user, _ = _user_and_password(rest)
    if user is None and "@" in rest:
        return f"{scheme}://{HIDDEN}"
    part, _, place = rest.rpartition("@")
    # With a question mark before it, the last @ may lie in the password or in a parameter.
    return f"{scheme}://{user or ''}{HIDDEN if '?' in part else _masked_place(place)}"


def scheme_of(text: str) -> str:
    """The scheme of a URL, for an error message; never another part of it."""
    scheme, separator, _ = text.partition("://")
    return scheme if separator and _SCHEME.fullmatch(scheme) else ""


def secrets_of(settings: BaseSettings) -> tuple[str, ...]:
    """The secret texts of the settings, in every spelling, longest first. No log may hold them."""
    found: set[str] = set()
    for name in type(settings).model_fields:
        for value in _leaves(getattr(settings, name)):
            found.update(_secrets(value))
    spelt = {form for secret in found for form in _spellings(secret)}
    return tuple(sorted((s for s in spelt if len(s) >= _MIN_SECRET), key=len, reverse=True))


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret hidden."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def printable(settings: BaseSettings) -> dict[str, Any]:
    """The settings as they may be logged: without secrets and without passwords in URLs."""
    shown = {}
    for name, dumped in settings.model_dump(mode="json").items():
        value = getattr(settings, name)
        if any(isinstance(leaf, SecretStr) for leaf in _leaves(value)):
            continue
        shown[name] = dumped if isinstance(value, PurePath) else _masked_all(dumped)
    return shown


def _masked_all(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {
            key: HIDDEN if _SECRET_NAMES.search(str(key)) else _masked_all(one)
            for key, one in value.items()
        }
    return [_masked_all(one) for one in value] if isinstance(value, list) else value


def _masked_place(place: str) -> str:
    """What follows the user's part: hosts, path, and the parameters that are known."""
    path, question, query = place.partition("?")
    if not question:
        return path
    return f"{path}?{'&'.join(_masked_parameters(query.split('&')))}"


def _masked_parameters(parameters: Iterable[str]) -> Iterator[str]:
    for parameter in parameters:
        name, equals, _ = parameter.partition("=")
        if equals and _SECRET_NAMES.search(name):
            # What follows may belong to a password that holds an `&`.
            yield f"{name}={HIDDEN}"
            return
        yield parameter if equals and name in _SHOWN_PARAMETERS else HIDDEN


def _user_and_password(rest: str) -> tuple[str | None, str | None]:
    """The user's part of a URL as it is shown, and its password; None where there is none."""
    part, at, _ = rest.rpartition("@")
    user, colon, password = part.partition(":")
    if not at or "/" in user or "?" in user:
        return None, None
    return (f"{user}:{HIDDEN}@", password) if colon else (f"{user}@", None)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
        return
    if not isinstance(value, str) or "://" not in value:
        return
    rest = value.partition("://")[2]
    password = _user_and_password(rest)[1]
    if password:
        yield password
        # A driver may end the password at the first `@`, and take what follows for the host.
        yield from password.split("@")
    for parameter in rest.partition("?")[2].split("&"):
        name, _, given = parameter.partition("=")
        if _SECRET_NAMES.search(name):
            yield given


def _spellings(secret: str) -> Iterator[str]:
    plain = {secret, unquote(secret), unquote_plus(secret)}
    yield from plain
    for one in plain:
        yield from (quote(one), quote(one, safe=""), quote_plus(one), repr(one)[1:-1])


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _leaves(one)
    else:
        yield value
