"""One exported model, run by onnxruntime."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Else it writes to the home folder and sends to its maker which models are loaded, and on what.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from groundswell.artifacts.errors import BundleError


class OnnxModel:
    """An ONNX file with named inputs and one output. Thread-safe: runs may overlap.

    Raises BundleError (BUNDLE_CORRUPT) when the file cannot be loaded.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning workers steal the cores of the other processes on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BundleError("BUNDLE_CORRUPT", f"{path.name} cannot be loaded: {error}") from error
        self.inputs = tuple(value.name for value in self._session.get_inputs())

    def run(self, **inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Run the model once and return its output; inputs go by the names in the file."""
        output: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return output
