"""A profiled training leaves a trace that names what took the time."""

import io
import json
from pathlib import Path

import torch
from rich.console import Console

from groundswell.trainer.loop.losses import next_item_loss
from groundswell.trainer.loop.profiling import TRACE, profiled


def steps(count: int) -> None:
    users_nd, items_Nd = torch.randn(4, 8), torch.randn(20, 8, requires_grad=True)
    optimizer = torch.optim.Adam([items_Nd])
    for _ in range(count):
        optimizer.zero_grad()
        next_item_loss(users_nd, torch.arange(4), items_Nd).backward()
        optimizer.step()


def test_the_trace_and_the_table_name_our_own_operations(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    with profiled(tmp_path / "new" / "folder", "cpu", console):
        steps(20)
    trace = json.loads((tmp_path / "new" / "folder" / TRACE).read_text())
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert names.count("_FullSoftmax") == 5, "one a traced step"
    assert {"_FullSoftmaxBackward", "Optimizer.step#Adam.step", "aten::_softmax"} <= {*names}
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "_FullSoftmax" in printed
    assert "Self CPU" in printed


def test_too_few_steps_are_said_and_leave_no_trace(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    with profiled(tmp_path, "cpu", console):
        steps(7)
    assert "no trace: training took 7 steps only" in console.file.getvalue()  # type: ignore[attr-defined]
    assert not (tmp_path / TRACE).exists()
