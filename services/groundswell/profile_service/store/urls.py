"""Checks the URL of a database, without showing any part of it in an error."""

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def url_problem(url: str) -> str | None:
    """What is wrong with the URL of a database; None when it is right.

    The parser's own errors are not shown: they hold parts of the URL, perhaps of a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "it cannot be read as a URL; write /, @, : and % in a password as %2F, %40, %3A, %25"
    if "@" in (parsed.host or ""):
        return "the user or the password holds an @; write it there as %40"
    return None
