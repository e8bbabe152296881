"""The text backends by name."""

from collections.abc import Mapping

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.text_cache import Encoder
from groundswell.profile_service.worker.text_backends import onnx_fp32, onnx_int8, torch_encoder
from groundswell.profile_service.worker.text_backends.backend import Machine, TextBackend

EXACT = "onnx"
BACKENDS: Mapping[str, TextBackend] = {
    EXACT: onnx_fp32.BACKEND,
    "onnx-int8": onnx_int8.BACKEND,
    "torch": torch_encoder.BACKEND,
}


def load_exact(bundle: Bundle, machine: Machine) -> Encoder:
    """Load the encoder in fp32, by the library that is faster on the device."""
    if machine.device == "cpu":
        return BACKENDS[EXACT].load(bundle, machine)
    return torch_encoder.load_fp32(bundle, machine)
