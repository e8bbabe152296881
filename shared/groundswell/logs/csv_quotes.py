"""Converts quotes that a backslash escapes, as Spark, MySQL and PHP write them, to plain CSV."""

import re

ESCAPED_QUOTE = b'\\"'
_ESCAPED = re.compile(rb'(?<!\\)((?:\\\\)*)\\"')


def with_doubled_quotes(content: bytes, separator: str) -> bytes | None:
    """Double the escaped quotes, as CSV requires; None for a file without any.

    The quote that ends a value may follow a backslash: `"C:\\"`. So a file escapes quotes only
    if more of the value follows such a quote.
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
