"""Ends a command that Ctrl-C or SIGTERM interrupts, and says how to go on with it."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130


def let_sigterm_interrupt() -> None:
    """From now on SIGTERM ends the command as Ctrl-C does, so that it can clean up."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the handler's shape
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def says_when_interrupted(next_step: Callable[[], str]) -> Iterator[None]:
    """End an interrupted command with one line, `next_step()`, and status 130."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"groundswell: interrupted; {next_step()}\n")
        sys.exit(EXIT_INTERRUPTED)
