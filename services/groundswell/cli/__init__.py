"""The `groundswell` command: every step from a behaviour log to recommendations."""

import io
import locale
import os
import sys

from groundswell.cli.interruption import EXIT_INTERRUPTED, let_sigterm_interrupt

EXIT_NOT_INSTALLED = 2


def main() -> None:
    """Run the command line; what a command needs is imported when it runs."""
    _speak_utf8()
    # Must be set before the first import that brings an OpenMP. Threads that wait by spinning
    # take the cores from each other: with other work on the machine, training with two threads
    # was measured 3.6 times slower than with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        let_sigterm_interrupt()
        from groundswell.cli.app import run

        run()
    except KeyboardInterrupt:
        # While a command runs Typer takes it; this one came while its modules were read.
        sys.exit(EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        from groundswell.cli.extras import which_extra

        line = which_extra(error, sys.argv[1:])
        if line is None:
            raise
        sys.stderr.write(f"groundswell: {line}\n")
        sys.exit(EXIT_NOT_INSTALLED)


def _speak_utf8() -> None:
    """Make arguments, names of files, files and output UTF-8, whatever the locale says.

    Python decides at its start how it reads arguments and names of files: where the locale has
    another encoding, the process starts again in Python's UTF-8 mode, and so do its children.
    """
    is_utf8 = sys.flags.utf8_mode or locale.getencoding().lower() in ("utf-8", "utf8")
    if not is_utf8 and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Bytes that are not UTF-8, such as in the name of a file, are escaped.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
