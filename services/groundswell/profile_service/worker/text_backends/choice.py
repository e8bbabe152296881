"""Chooses what encodes texts of histories: the fastest backend that passes the recall test."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.small_files import replace_text
from groundswell.artifacts.text_cache import Encoder
from groundswell.profile_service.worker.text_backends import trials
from groundswell.profile_service.worker.text_backends.backend import Machine
from groundswell.profile_service.worker.text_backends.registry import BACKENDS, EXACT, load_exact
from groundswell.profile_service.worker.text_backends.torch_encoder import gpu_name
from groundswell.profile_service.worker.text_backends.trials import Trial

_log = structlog.get_logger(__name__)

AUTO = "auto"
MIN_RECALL = 0.98
"""The recall test: the least recall@10 from chunk vectors to items, where fp32 ranks the items."""
_TIMEOUT_S = 900.0
_LIBRARIES = ("onnxruntime", "torch", "transformers")


def load_encoders(
    bundle: Bundle, wanted: str, machine: Machine, cache: Path | None
) -> tuple[Encoder, Encoder]:
    """Load the encoder of items and that of chunks, which may be one.

    `wanted`, `cache` and the errors are those of `choose_backend`.
    """
    exact = load_exact(bundle, machine)
    name = choose_backend(bundle, wanted, machine, cache)
    return exact, exact if name is None else BACKENDS[name].load(bundle, machine)


def choose_backend(bundle: Bundle, wanted: str, machine: Machine, cache: Path | None) -> str | None:
    """Return the backend that is to encode chunks; None: they are encoded as items are, in fp32.

    `wanted` is `auto` or a name. Trying takes seconds, so the figures are kept in the folder
    `cache`, if there is one. Raises BundleError (BACKEND_REFUSED) when the named backend does not
    pass the recall test.
    """
    if wanted == EXACT or bundle.manifest.history_text.mode == "skip":
        return None
    tried = _kept_trials(bundle, [wanted] if wanted != AUTO else _usable(machine), machine, cache)
    passed = [trial for trial in tried if trial.recall >= MIN_RECALL]
    if wanted != AUTO and not passed:
        raise BundleError(
            "BACKEND_REFUSED",
            f"the text backend {wanted} does not pass the recall test: against fp32, {tried[0]}; "
            f"it needs {MIN_RECALL}; use auto",
        )
    chosen = max(passed, key=lambda trial: trial.texts_per_s, default=None)
    name = None if chosen is None or chosen.backend == EXACT else chosen.backend
    _log.info("text_backend_chosen", backend=name or "fp32", tried=[str(one) for one in tried])
    return name


def missing_package(name: str) -> str | None:
    """Return a package that a backend needs and that is not installed; None without any."""
    return next((one for one in BACKENDS[name].packages if find_spec(one) is None), None)


def _usable(machine: Machine) -> list[str]:
    """Return the backends that are installed and run on the device."""
    on_gpu = machine.device != "cpu"
    return [
        name
        for name, backend in BACKENDS.items()
        if (backend.runs_on_gpu or not on_gpu) and missing_package(name) is None
    ]


def _kept_trials(
    bundle: Bundle, names: Sequence[str], machine: Machine, cache: Path | None
) -> list[Trial]:
    """Return the results of trying the backends, now or at an earlier start."""
    if cache is None:
        return _trials(bundle, names, machine)
    what = [bundle.manifest.text.fingerprint, *names, *machine, _hardware(machine), *_versions()]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    file = cache / f"text-backends-{key}.json"
    try:
        return [Trial(*one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        tried = _trials(bundle, names, machine)
    if not any(trial.problem for trial in tried):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            replace_text(file, json.dumps(tried))
        except OSError as error:
            _log.warning("text_backends_not_kept", folder=str(cache), problem=error.strerror)
    return tried


def _trials(bundle: Bundle, names: Sequence[str], machine: Machine) -> list[Trial]:
    """Try the backends in a process of their own."""
    command = [sys.executable, "-m", trials.__name__, str(bundle.path), *map(str, machine), *names]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"it takes more than {_TIMEOUT_S:.0f} s"
    else:
        if done.returncode == 0:
            return [Trial(*one) for one in json.loads(done.stdout)]
        problem = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return [Trial(name, 0.0, 0.0, problem) for name in names]


def _hardware(machine: Machine) -> str:
    """Return the name of the processor, or of the GPU."""
    if machine.device != "cpu":
        return gpu_name(machine.device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _versions() -> list[str]:
    return [f"{name} {version(name)}" for name in _LIBRARIES if find_spec(name) is not None]
