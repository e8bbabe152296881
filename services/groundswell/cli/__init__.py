"""The one `groundswell` command: every step from a behaviour log to recommendations."""

import os
import sys

EXIT_NOT_INSTALLED = 2


def main() -> None:
    """Run the command line; what a command needs is imported when it runs."""
    # Must be set before the first import that brings an OpenMP. Threads that wait by spinning
    # take the cores from each other: with other work on the machine, training with two threads
    # was measured 3.6 times slower than with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from groundswell.cli.app import run

        run()
    except ModuleNotFoundError as error:
        from groundswell.cli.extras import which_extra

        line = which_extra(error, sys.argv[1:])
        if line is None:
            raise
        sys.stderr.write(f"groundswell: {line}\n")
        sys.exit(EXIT_NOT_INSTALLED)
