"""Quotes inside of CSV values that a backslash escapes, as Spark, MySQL and PHP write them."""

import re

ESCAPED_QUOTE = b'\\"'
_ESCAPED = re.compile(rb'(?<!\\)((?:\\\\)*)\\"')


def with_doubled_quotes(content: bytes, separator: str) -> bytes | None:
    """Write escaped quotes twice, as CSV has it; None for a file that escapes none.

    A backslash may stand before the quote that ends a value: `"C:\\"`. So a file escapes quotes
    only where one that a backslash precedes is followed by more of its value.
    """
    if not _some_escaped(separator).search(content):
        return None
    return _ESCAPED.sub(rb'\1""', content)


def _some_escaped(separator: str) -> re.Pattern[bytes]:
    part = re.escape(separator.encode())
    value = rb'(?:[^"\\]|\\[^"]|"")*+'
    return re.compile(
        rb"(?:^|[\r\n]|" + part + rb')"' + value + rb'\\"(?!["\r\n]|' + part + rb"|\Z)"
    )
