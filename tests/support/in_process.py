"""Runs the `groundswell` command inside the test's own process: fast, and nothing is hidden."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from groundswell.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ended:
    """Run the command to its end. Whatever it raises but SystemExit comes out."""
    before = sys.argv
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["groundswell", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())
