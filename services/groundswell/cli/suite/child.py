"""Runs a service's module, and ends it when the launcher that started it has ended.

`python -m groundswell.cli.suite.child MODULE`: the launcher holds the other end of this process's
standard input and never writes. However the launcher ends, kill -9 included, that end closes.
"""

import os
import runpy
import signal
import sys
import threading

from groundswell.cli import EXIT_NOT_INSTALLED
from groundswell.cli.extras import which_extra_of_service

_STDIN = 0


def _end_with_the_launcher() -> None:
    while os.read(_STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    module = sys.argv.pop(1)
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        line = which_extra_of_service(error, module)
        if line is None:
            raise
        sys.stderr.write(f"{line}\n")
        sys.exit(EXIT_NOT_INSTALLED)
