"""Prints how a file was read, which columns were ignored, and which rows were left out."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console

from groundswell.cli.failures import CommandError

LINES_NAMED = 3


def say_how_read(console: Console, notes: Sequence[str], ignored_columns: Sequence[str]) -> None:
    """Print how a file was read, and which of its columns are ignored."""
    for note in notes:
        _say(console, note)
    if ignored_columns:
        _say(console, f"ignored columns: {', '.join(ignored_columns)}")


def say_left_out(console: Console, left_out: pl.DataFrame) -> None:
    """Print how many rows were left out for each reason, with the first lines.

    `left_out` has line and reason.
    """
    reasons = left_out.group_by("reason").agg(pl.len(), pl.col("line").sort().head(LINES_NAMED))
    for reason, count, lines in reasons.sort("len", "reason", descending=[True, False]).iter_rows():
        more = ", …" if count > LINES_NAMED else ""
        where = "line" if count == 1 else "lines"
        numbers = ", ".join(str(line) for line in lines)
        _say(console, f"{count:,} left out: {reason} ({where} {numbers}{more})")


def check_all_taken(file: Path, num_left: int, of: int) -> None:
    """Raise CommandError when a command left out any row of a file, after what it has listed."""
    if num_left:
        raise CommandError(
            f"{num_left:,} of {of:,} rows of {file} were left out: correct what is listed above "
            "and run the command again"
        )


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
