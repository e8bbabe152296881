"""Profiles training steps: a trace, and a table of the operations that take the most time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from torch.optim import Optimizer, SparseAdam
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import profile, schedule

TRACE = "trace.json"
_SKIPPED, _WARM_UP, _TRACED = 5, 3, 5
"""Steps: the first ones allocate, and the profiler itself has to settle."""
_ROWS = 20


@contextmanager
def profiled(folder: Path, device: str, console: Console) -> Iterator[None]:
    """Trace some steps of any optimizer: `trace.json`, in Chrome's format, goes to `folder`.

    The console shows the operations by their own time, or that there were too few steps.
    """

    def report(found: profile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        found.export_chrome_trace(str(folder / TRACE))
        averages = found.key_averages()
        of = f"self_{'cpu' if device == 'cpu' else 'device'}_time_total"
        console.print(averages.table(sort_by=of, row_limit=_ROWS), markup=False, soft_wrap=True)

    def step(optimizer: Optimizer, *_: object) -> None:
        # The tables of a large catalogue have an optimizer beside the one of each step.
        if not isinstance(optimizer, SparseAdam):
            running.step()

    plan = schedule(wait=_SKIPPED, warmup=_WARM_UP, active=_TRACED, repeat=1)
    with profile(schedule=plan, on_trace_ready=report) as running:
        handle = register_optimizer_step_post_hook(step)
        try:
            yield
        finally:
            handle.remove()
    if running.step_num < _SKIPPED + _WARM_UP + _TRACED:
        console.print(f"no trace: training took {running.step_num} steps only")
