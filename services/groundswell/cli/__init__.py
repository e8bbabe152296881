"""The one `groundswell` command: every step from a behaviour log to recommendations."""

import os


def main() -> None:
    """Run the command line; what a command needs is imported when it runs."""
    # Must be set before the first import that brings an OpenMP. Threads that wait by spinning
    # take the cores from each other: with other work on the machine, training with two threads
    # was measured 3.6 times slower than with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from groundswell.cli.app import run

    run()
