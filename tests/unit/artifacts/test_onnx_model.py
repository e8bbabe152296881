"""onnxruntime runs a model and tells nobody."""

import os
import subprocess
import sys
from pathlib import Path

from groundswell.artifacts.store import load_bundle

_LOADS = """
import sys
from pathlib import Path
from groundswell.artifacts.onnx_model import OnnxModel
OnnxModel(Path(sys.argv[1]))
"""
_SILENT = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
"""onnxruntime collects nothing where one of these variables is set."""


def test_a_loaded_model_leaves_nothing_that_onnxruntime_would_send(
    bundles: Path, tmp_path: Path
) -> None:
    model = load_bundle(bundles).path / "context_head.onnx"
    kept = {n: v for n, v in os.environ.items() if n not in _SILENT and "XDG" not in n}
    for environment in (kept, {**kept, "ORT_DISABLE_TELEMETRY": "0"}):
        subprocess.run(
            [sys.executable, "-c", _LOADS, model],
            env={**environment, "HOME": str(tmp_path)},
            check=True,
        )
        assert list(tmp_path.iterdir()) == []
