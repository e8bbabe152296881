"""Measures what Python holds, and sets it aside."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def allocations() -> Iterator[Callable[[], int]]:
    """Give a function that tells the bytes that were allocated since and are still held."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    try:
        yield held
    finally:
        tracemalloc.stop()


def set_heap_aside() -> None:
    """Keep what earlier tests left out of all later searches for garbage.

    Such a search looks through a gigabyte at the end of a run, within whatever is measured then.
    """
    gc.collect()
    gc.freeze()
