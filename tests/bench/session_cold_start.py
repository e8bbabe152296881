"""session.cold_start: from exec to SERVING, against a bare Python that imports its libraries."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from groundswell.serving.health_probe import SERVING, health
from tests.bench.deployment import Deployment, deployed
from tests.bench.harness import Line
from tests.support.processes import Process, free_port, service_process

_STARTS = 7
_MAX_S = 3.0
_TIMEOUT_S = 60.0
_LIBRARIES = "import grpc, numpy, onnxruntime"
_FORBIDDEN = ("torch", "transformers")


def measure(folder: Path) -> list[Line]:
    """Measure starts over a bundle and a catalogue, windows in memory, both sides in turns."""
    with deployed(folder) as deployment:
        _refuse_heavy_imports(_imported(deployment, folder))
        ours, theirs = [], []
        for number in range(_STARTS):
            ours.append(_start_s(deployment, folder / f"cold-{number}.log", {}))
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", _LIBRARIES], check=True)
            theirs.append(time.perf_counter() - began)
    start_s, bare_s = float(np.median(ours)), float(np.median(theirs))
    return [
        Line("session.cold_start", start_s, "s from exec to SERVING").at_most(_MAX_S),
        Line("session.cold_start.ratio", start_s / bare_s, f"× {_LIBRARIES} ({bare_s:.3f} s)"),
    ]


def _start_s(deployment: Deployment, log: Path, environment: dict[str, str]) -> float:
    port = free_port()
    process = service_process(
        "groundswell.session_service",
        port,
        deployment.world.bundles,
        log,
        # An empty PYTHONPATH differs from none: so it is an interpreter of its own and no fork.
        {
            "GROUNDSWELL_PROFILE_ADDRESS": deployment.profile,
            "PYTHONPATH": "",
            **environment,
        },
    )
    began = time.perf_counter()
    with process:
        _wait(process, f"127.0.0.1:{port}")
        return time.perf_counter() - began


def _wait(process: Process, address: str) -> None:
    until = time.perf_counter() + _TIMEOUT_S
    while health(address, timeout_s=1.0) != SERVING:
        if not process.is_running or time.perf_counter() > until:
            raise RuntimeError(f"the session service did not start:\n{process.log()}")
        time.sleep(0.01)


def _imported(deployment: Deployment, folder: Path) -> set[str]:
    """Return the names of all packages that a start imports."""
    log = folder / "imports.log"
    _start_s(deployment, log, {"PYTHONPROFILEIMPORTTIME": "1"})
    lines = [line for line in log.read_text().splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def _refuse_heavy_imports(imported: set[str]) -> None:
    if "onnxruntime" not in imported:
        raise RuntimeError("the imports of a start are not known")
    if found := imported.intersection(_FORBIDDEN):
        raise RuntimeError(f"the session service imports {', '.join(sorted(found))}")
