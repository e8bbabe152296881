"""Works off pages on a cluster with Ray Data, in a pool of actors."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import pyarrow as pa

from groundswell.profile_service.rebuild.page_engine import PageResult, page_results
from groundswell.profile_service.rebuild.pages import PageWork, Plan
from groundswell.serving.server import StartError

# Ray must not report how it is used; it reads this when it is imported.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
import ray.data
from ray.exceptions import RayError

_WAVE = 2_000
"""Pages that are handed to the cluster at once."""


@contextmanager
def ray_engine(plan: Plan, address: str | None, processes: int) -> Iterator["RayEngine"]:
    """Join the cluster at an address, or start one of this machine that ends with the context.

    Raises StartError (RAY_UNREACHABLE).
    """
    started = {} if address else {"num_cpus": processes, "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
    except (ConnectionError, RuntimeError) as error:
        message = f"no Ray cluster of release {ray.__version__} answers at {address}: {error}"
        raise StartError("RAY_UNREACHABLE", message) from error
    try:
        yield RayEngine(plan)
    finally:
        ray.shutdown()


class RayEngine:
    """Gives pages to actors: one for each GPU or, without GPUs, one for each processor."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # So that progress can be kept as one number: all users up to it are done.
        context.execution_options.preserve_order = True

    def run(self, pages: Iterable[pa.Table]) -> Iterator[PageResult]:
        """Yield the result of each page, in their order. Raises StartError (RAY_FAILED)."""
        rest = iter(pages)
        while wave := list(islice(rest, _WAVE)):
            try:
                yield from self._run(wave)
            except RayError as error:
                raise StartError("RAY_FAILED", str(error).strip().splitlines()[-1]) from error

    def _run(self, pages: list[pa.Table]) -> Iterator[PageResult]:
        resources = ray.cluster_resources()
        num_gpus = int(resources.get("GPU", 0))
        num_actors = num_gpus or max(int(resources.get("CPU", 1)), 1)
        results = ray.data.from_arrow(pages).map_batches(
            PageWork,
            fn_constructor_args=[replace(self._plan, device="cuda" if num_gpus else "cpu")],
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=1,
            num_gpus=1 if num_gpus else 0,
            # Fewer actors run while others use the cluster.
            concurrency=(1, num_actors, num_actors),
        )
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from page_results(batch)
