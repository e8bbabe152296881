"""ranker.large: Recommend over large catalogues, against a bare gather and a search alone."""

import asyncio
import re
import time
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query
from groundswell.serving.channels import open_channel
from tests.bench.harness import OURS, THEIRS, Line, Side, compare, compare_throughput
from tests.bench.large import built_index, milliseconds
from tests.bench.ranker import REQUEST, canned_ranker
from tests.support.processes import free_port

_SIZES = (100_000, 1_000_000)
_CALLS = 1_000
_NUM_SEARCHES = 300
_CPU = re.compile(rb"^process_cpu_seconds_total ([0-9.e+]+)", re.MULTILINE)
_IDLE_S = 10.0
_START_TIMEOUT_S = 1_800.0


def measure(folder: Path) -> list[Line]:
    """Measure a user with both vectors, 60 seen items and no filter, over each size."""
    return [line for size in _SIZES for line in _measure_size(folder, size)]


def _measure_size(folder: Path, num_items: int) -> list[Line]:
    built = built_index(num_items)
    search = partial(_search, ItemIndex(built.engine))
    times = milliseconds({"search": search}, built.catalogue.queries[:_NUM_SEARCHES])
    search_ms = float(np.median(times["search"]))
    metrics = free_port()
    more = {"GROUNDSWELL_METRICS_PORT": str(metrics)}
    with canned_ranker(folder, num_items, more) as (ranker, gather):
        _wait_until_merged(metrics)
        return asyncio.run(_measure(f"ranker.large.{num_items}", ranker, gather, search_ms))


def _search(index: ItemIndex, query: NDArray[np.float32]) -> object:
    return index.search([Query(query[None], REQUEST.page_size)])


def _wait_until_merged(metrics: int) -> None:
    """Wait until the ranker has nothing to do: it has put the whole catalogue into its index."""
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end:
        before = _cpu_s(metrics)
        time.sleep(_IDLE_S)
        if _cpu_s(metrics) - before < 0.05 * _IDLE_S:
            return
    raise RuntimeError("the ranker of the bench does not come to rest")


def _cpu_s(metrics: int) -> float:
    with urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
        found = _CPU.search(answer.read())
    if found is None:
        raise RuntimeError("the ranker of the bench does not tell its processor time")
    return float(found[1])


async def _measure(name: str, ranker: str, gather: str, search_ms: float) -> list[Line]:
    async with open_channel(ranker) as channel, open_channel(gather) as gather_channel:
        ours, theirs = RankerServiceStub(channel), RankerServiceStub(gather_channel)
        sides = {
            OURS: Side(lambda: ours.Recommend(REQUEST)),
            THEIRS: Side(lambda: theirs.Recommend(REQUEST)),
        }
        p50, p50_ms, p99, p99_ms = await compare(name, "bare gather", sides, _CALLS)
        gather_ms = p50_ms.value / p50.value
        with_search = p50_ms.value / (gather_ms + search_ms)
        throughput = await compare_throughput(name, "bare gather", sides)
        unit = f"× gather and a search of {search_ms:.2f} ms"
        return [
            p50,
            p50_ms,
            Line(f"{name}.with_search", with_search, unit).at_most(1.4),
            p99.at_most(2.0),
            p99_ms,
            throughput.at_least(0.6),
        ]
