"""Runs the `groundswell` command inside the test's own process: fast, and nothing is hidden."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from groundswell.cli import main


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end. Whatever it raises but SystemExit comes out."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["groundswell", *arguments]),
        patch.dict(os.environ, {"COLUMNS": "160"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
