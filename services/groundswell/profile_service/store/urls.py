"""Checks the URL of a database, and says what is wrong with it without showing any of it."""

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def url_problem(url: str) -> str | None:
    """What keeps the URL from naming a database; None when nothing does.

    The texts of the parser's own errors hold parts of the URL, which may be parts of a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "it cannot be read as a URL; write /, @, : and % in a password as %2F, %40, %3A, %25"
    if "@" in (parsed.host or ""):
        return "the user or the password holds an @; write it there as %40"
    return None
