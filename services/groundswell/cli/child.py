"""Runs a service's module, and ends it when the launcher that started it is gone.

`python -m groundswell.cli.child MODULE`: the launcher holds the other end of this process's
standard input and never writes. However the launcher ends, kill -9 included, that end closes.
"""

import os
import runpy
import signal
import sys
import threading

_STDIN = 0


def _end_with_the_launcher() -> None:
    while os.read(_STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    module = sys.argv.pop(1)
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
