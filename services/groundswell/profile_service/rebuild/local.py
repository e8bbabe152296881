"""Works off pages in a pool of processes on this machine, with one thread each."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache

import pyarrow as pa

from groundswell.profile_service.rebuild.page_engine import PageResult, page_results
from groundswell.profile_service.rebuild.pages import PageError, PageWork, Plan
from groundswell.serving.server import StartError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_AHEAD = 2
"""Pages that wait for each process."""

_plan: Plan
"""The plan of this process, when it is one of the pool."""


@contextmanager
def local_engine(plan: Plan, processes: int) -> Iterator["LocalEngine"]:
    """Start the pool; its processes end with the context, and when this process is killed."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"), TOKENIZERS_PARALLELISM="false")
    # Threads that run here would not run in a fork.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, spawn, initializer=_begin, initargs=(plan,))
    try:
        yield LocalEngine(pool, processes)
    except BaseException:  # raised again: an error or Ctrl-C must not wait for pages to be finished
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class LocalEngine:
    """Gives pages to a pool, a few ahead of what is done."""

    def __init__(self, pool: ProcessPoolExecutor, processes: int) -> None:
        self._pool = pool
        self._ahead = _AHEAD * processes

    def run(self, pages: Iterable[pa.Table]) -> Iterator[PageResult]:
        """Yield the result of each page, in their order. Raises StartError."""
        waiting: deque[Future[pa.Table]] = deque()
        try:
            for page in pages:
                waiting.append(self._pool.submit(_run, page))
                if len(waiting) > self._ahead:
                    yield from page_results(waiting.popleft().result())
            while waiting:
                yield from page_results(waiting.popleft().result())
        except PageError as error:
            raise StartError("PAGE_FAILED", str(error)) from error
        except BrokenProcessPool as error:
            message = "a process of the pool was ended, perhaps for its memory; name fewer of them"
            raise StartError("POOL_BROKEN", message) from error


def _begin(plan: Plan) -> None:
    global _plan
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _plan = plan


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, even in the middle of a page."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@cache
def _work() -> PageWork:
    return PageWork(_plan)


def _run(page: pa.Table) -> pa.Table:
    return _work()(page)
